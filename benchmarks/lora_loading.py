"""Time of loading a LoRA of rank 64 into the UNet of Stable Diffusion 1.5, with random weights.

    python benchmarks/lora_loading.py [--rank 64] [--dtype float16] [--profile]

The file is in the page cache, as after a download. Fusing, unfusing, hotswap and unloading are timed too.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ppdiffusers import UNet2DConditionModel
from ppdiffusers.models.adapters import create_lora
from ppdiffusers.pipelines.loaders.lora import StableDiffusionLoraLoaderMixin

# The layers of Kohya's networks: attention, feed-forward layers and projections.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]


class Loader(StableDiffusionLoraLoaderMixin):
    """A pipeline with a UNet only."""

    def __init__(self, unet: UNet2DConditionModel):
        self.unet = unet


def write_lora(unet: UNet2DConditionModel, path: Path, rank: int, dtype: str) -> None:
    """Write a random LoRA with Kohya's names."""
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
    print(f"{what}: {time.perf_counter() - start:.2f} s")
    if profiler:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"])
    parser.add_argument("--profile", action="store_true", help="print where the time of loading goes")
    parser.add_argument("--tiny", action="store_true", help="a small UNet, to test this script")
    args = parser.parse_args()
    small = {"block_out_channels": (32, 32, 32, 32), "cross_attention_dim": 32}
    loader = Loader(UNet2DConditionModel(**(small if args.tiny else {"cross_attention_dim": 768})))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lora.safetensors"
        write_lora(loader.unet, file, args.rank, args.dtype)
        timed("load", lambda: loader.load_lora_weights(file, adapter_name="style"), args.profile)
        timed("load a second one", lambda: loader.load_lora_weights(file, adapter_name="detail"))
        timed("hotswap", lambda: loader.load_lora_weights(file, adapter_name="style", hotswap=True))
        timed("fuse", lambda: loader.fuse_lora())
        timed("unfuse", lambda: loader.unfuse_lora())
        timed("unload", lambda: loader.unload_lora_weights())


if __name__ == "__main__":
    main()
