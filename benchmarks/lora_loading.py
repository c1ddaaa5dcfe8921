"""Time of loading a LoRA of rank 64 into the UNet of Stable Diffusion 1.5 (random weights, float32, 3.4 GB).

    python benchmarks/lora_loading.py [--rank 64] [--dtype float16] [--profile]

Each library runs in its own process, one after the other, so that one network is in memory; diffusers with PEFT runs
if it is installed. The file is in the page cache, as after a download. Hotswap, fusing, unfusing and unloading are
timed too.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.util
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = ("ppdiffusers", "diffusers")

# The layers of Kohya's networks: attention, feed-forward layers and projections.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]


def loader_of(library: str, config: dict[str, Any]) -> Any:
    """Return a pipeline with a UNet only."""
    if library == "diffusers":
        import diffusers

        parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "scheduler", "safety_checker", "feature_extractor"))
        unet = diffusers.UNet2DConditionModel(**config)
        return diffusers.StableDiffusionPipeline(unet=unet, requires_safety_checker=False, **parts)
    from ppdiffusers import UNet2DConditionModel
    from ppdiffusers.pipelines.loaders.lora import StableDiffusionLoraLoaderMixin

    class Loader(StableDiffusionLoraLoaderMixin):
        def __init__(self) -> None:
            self.unet = UNet2DConditionModel(**config)

    return Loader()


def write_lora(unet: Any, path: Path, rank: int, dtype: str) -> None:
    """Write a random LoRA with Kohya's names."""
    from safetensors.numpy import save_file

    from ppdiffusers.models.adapters import create_lora

    random, tensors = np.random.default_rng(0), {}
    for name, delta in create_lora(unet, TARGETS, rank=1).items():
        stem = "lora_unet_" + name.replace(".", "_")
        shapes = {"down": [rank, *delta.down.shape[1:]], "up": [delta.up.shape[0], rank, *delta.up.shape[2:]]}
        for part, shape in shapes.items():
            values = random.standard_normal(shape, dtype=np.float32) / 100
            tensors[f"{stem}.lora_{part}.weight"] = values.astype(dtype)
        tensors[f"{stem}.alpha"] = np.array(rank / 2, dtype)
    save_file(tensors, path)
    print(f"{len(tensors) // 3} layers, {path.stat().st_size / 2**20:.0f} MB")


def timed(what: str, action: Callable[[], None], profile: bool = False) -> None:
    profiler = cProfile.Profile() if profile else None
    start = time.perf_counter()
    profiler.runcall(action) if profiler else action()
    print(f"  {what}: {time.perf_counter() - start:.2f} s")
    if profiler:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)


def measure(args: argparse.Namespace) -> None:
    """Time one library in this process."""
    config: dict[str, Any] = {"cross_attention_dim": 768}
    if args.tiny:
        config = {"block_out_channels": (32, 32, 32, 32), "cross_attention_dim": 32}
    loader = loader_of(args.library, config)
    if not args.file.exists():
        write_lora(loader.unet, args.file, args.rank, args.dtype)

    def load(**kwargs: Any) -> None:
        loader.load_lora_weights(str(args.file.parent), weight_name=args.file.name, **kwargs)

    print(f"{args.library}:")
    timed("load", lambda: load(adapter_name="style"), args.profile)
    timed("hotswap", lambda: load(adapter_name="style", hotswap=True))
    timed("load a second one", lambda: load(adapter_name="detail"))
    timed("fuse", lambda: loader.fuse_lora(components=["unet"]))
    timed("unfuse", lambda: loader.unfuse_lora(components=["unet"]))
    timed("unload", lambda: loader.unload_lora_weights())
    print(f"  peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"])
    parser.add_argument("--profile", action="store_true", help="print where the time of loading goes")
    parser.add_argument("--tiny", action="store_true", help="a small UNet, to test this script")
    parser.add_argument("--library", choices=LIBRARIES, help="measure one library in this process, with --file")
    parser.add_argument("--file", type=Path, help="the LoRA file; ppdiffusers writes it if it does not exist")
    args = parser.parse_args()
    if args.library:
        if args.file is None:
            parser.error("--library requires --file")
        measure(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        for library in LIBRARIES:
            if importlib.util.find_spec(library) is None:
                print(f"{library} is not installed.")
                continue
            file = Path(folder) / "lora.safetensors"
            command = [sys.executable, __file__, *sys.argv[1:], "--library", library, "--file", str(file)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
