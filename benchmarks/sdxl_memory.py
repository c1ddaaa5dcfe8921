"""Measure memory and time of a full-size Stable Diffusion XL UNet: conversion, loading, one step; beside diffusers.

    python benchmarks/sdxl_memory.py [--work_dir DIR] [--limit_mb 1000] [--tiny]

The UNet of stabilityai/stable-diffusion-xl-base-1.0 (2.6 billion parameters, 10.3 GB in float32) is written with random
weights in diffusers' format, tensor by tensor, into a temporary folder. Every measurement is a process of its own, so
that its peak is its own. The files need 21 GB of disk and are removed. The exit code is 1 if converting takes more than
the limit above the interpreter, or if the two libraries disagree. `--tiny` is the same with a small network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import paddle

from ppdiffusers import UNet2DConditionModel
from ppdiffusers.convert.apply import to_torch_layout
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import write_safetensors

# unet/config.json of stabilityai/stable-diffusion-xl-base-1.0, where it differs from the defaults
FULL = {
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
TINY = {
    **FULL,
    "sample_size": 16,
    "block_out_channels": [32, 64, 64],
    "transformer_layers_per_block": [1, 1, 2],
    "attention_head_dim": [2, 4, 4],
    "cross_attention_dim": 48,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64,
}
BLOCK = 2**20  # random numbers that are repeated: drawing 2.6 billion takes longer than writing them
DISTANCE = 1e-3  # of the largest absolute value, after 70 layers of attention in float32

# Code of the measured processes: START, imports, IMPORTED, the measured part, END. The last line is JSON.
START = """
import json, time
import numpy as np
seconds, at = {}, time.perf_counter

def peak():  # VmHWM is that of the process itself: getrusage includes the parent's memory at the fork
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith("VmHWM"))

"""
IMPORTED = "imports = peak()\n"
END = 'print(json.dumps({"peak": peak(), "imports": imports, "seconds": seconds}))\n'
CONVERT_IMPORTS = """
import ppdiffusers.conversion.folder
from ppdiffusers import UNet2DConditionModel, convert_diffusers_to_paddle
"""
CONVERT = """
start = at()
convert_diffusers_to_paddle({source!r}, {target!r}, progress=False)
seconds["convert"] = at() - start
"""
INPUTS = """
rng = np.random.default_rng(0)
config = {config!r}
side = 64 if config["sample_size"] == 128 else config["sample_size"]
added = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
arrays = [rng.standard_normal(shape, dtype="float32")
          for shape in ((1, 4, side, side), (1, 77, config["cross_attention_dim"]), (1, added))]
arrays.append(np.float32([[1024, 1024, 0, 0, 1024, 1024]]))
"""
RUN = """
start = at()
unet = UNet2DConditionModel.from_pretrained({folder!r})
seconds["load"] = at() - start
sample, embeds, pooled, ids = [tensor(array) for array in arrays]
start = at()
with no_grad():
    result = unet(sample, 500, embeds, added_cond_kwargs={{"text_embeds": pooled, "time_ids": ids}}).sample
seconds["one step"] = at() - start
np.save({result!r}, result.numpy())
"""
OURS = "import paddle\nfrom paddle import no_grad, to_tensor as tensor\nfrom ppdiffusers import UNet2DConditionModel\n"
THEIRS = "import torch\nfrom torch import no_grad, from_numpy as tensor\nfrom diffusers import UNet2DConditionModel\n"


def write_source(folder: Path, config: dict) -> tuple[int, int]:
    """Write a UNet with random weights in diffusers' format, tensor by tensor; return (bytes, parameters)."""
    with paddle.LazyGuard():
        layer = UNet2DConditionModel(**config)
    numbers = np.random.default_rng(0).standard_normal(BLOCK, dtype=np.float32)

    def weights(name: str, shape: tuple[int, ...]) -> LazyTensor:
        """Scaled by the fan-in, so that activations neither vanish nor overflow; weights of norms are ones."""
        size = int(np.prod(shape))
        if len(shape) == 1:
            fixed = np.ones if name.endswith("weight") else np.zeros
            return LazyTensor("float32", shape, lambda: fixed(shape, np.float32))
        fan_in = shape[0] if len(shape) == 2 else size // shape[0]  # [in, out], [out, in, k, k]
        return LazyTensor("float32", shape, lambda: np.resize(numbers, shape) / np.float32(np.sqrt(fan_in)))

    tensors = {name: weights(name, tuple(tensor.shape)) for name, tensor in layer.state_dict().items()}
    folder.mkdir(parents=True)
    path = folder / "diffusion_pytorch_model.safetensors"
    write_safetensors(path, to_torch_layout(tensors, layer), {"format": "pt"})
    head = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.35.2"}
    (folder / "config.json").write_text(json.dumps({**head, **config}))
    return path.stat().st_size, sum(int(np.prod(tensor.shape)) for tensor in tensors.values())


def measure(name: str, imports: str, *code: str) -> float:
    """Run code in a process, and print its peak memory and times; return the MB above interpreter and imports."""
    command = [sys.executable, "-c", "".join((START, imports, IMPORTED, *code, END))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: the process failed with {done.returncode}:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    above = found["peak"] - found["imports"]
    seconds = ", ".join(f"{part} {value:.1f} s" for part, value in found["seconds"].items())
    print(f"{name:28} peak {found['peak']:8,.0f} MB, {above:8,.0f} MB above imports; {seconds}", flush=True)
    return above


def compare(work_dir: Path, config: dict) -> tuple[float, float]:
    """Measure everything: (MB of converting above the interpreter, distance of the two results)."""
    source, converted = work_dir / "source", work_dir / "paddle"
    size, count = write_source(source, config)
    print(f"UNet of {count / 1e6:,.1f} million parameters, {size / 1e6:,.1f} MB in float32", flush=True)
    convert = CONVERT.format(source=str(source), target=str(converted))
    above = measure("conversion", CONVERT_IMPORTS, convert)
    inputs, results = INPUTS.format(config=config), []
    for name, imports, folder in (
        ("ppdiffusers, Paddle weights", OURS, converted),
        ("ppdiffusers, PyTorch weights", OURS, source),
        ("diffusers", THEIRS, source),
    ):
        result = work_dir / f"{len(results)}.npy"
        run = RUN.format(folder=str(folder), result=str(result))
        measure(name, imports, inputs, run)
        results.append(np.load(result))
    distance = max(float(np.abs(ours - results[-1]).max()) for ours in results[:-1]) / float(np.abs(results[-1]).max())
    print(f"largest difference from diffusers: {distance:.1e} of the largest absolute value")
    return above, distance


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work_dir", type=Path, help="where to write the files (default: a temporary folder)")
    parser.add_argument("--limit_mb", type=float, default=1000, help="highest peak of converting (default: 1000)")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work_dir) as folder:
        above, distance = compare(Path(folder), TINY if arguments.tiny else FULL)
    return 1 if above > arguments.limit_mb or distance > DISTANCE else 0


if __name__ == "__main__":
    sys.exit(main())
