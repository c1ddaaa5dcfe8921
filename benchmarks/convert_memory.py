"""Measure the peak memory of converting one large component, without the interpreter and its imports.

    python benchmarks/convert_memory.py [--width 320] [--limit_mb 1000] [--work_dir DIR]

A UNet of the shape of Stable Diffusion 1.5 (`--width 320`: 3.4 GB in float32) with random weights is written as
safetensors and converted in a separate process; the exit code is 1 if the peak is above the limit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import paddle

from ppdiffusers import UNet2DConditionModel
from ppdiffusers.convert.apply import to_torch_layout
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import write_safetensors

IMPORTS = (
    "import ppdiffusers.conversion.folder; from ppdiffusers import UNet2DConditionModel, convert_diffusers_to_paddle\n"
)
PEAK = (  # VmHWM, because getrusage includes the parent's memory at the fork
    "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])\n"
)
CONVERT = "convert_diffusers_to_paddle({source!r}, {output!r}, format={format!r}, progress=False)\n"


def write_source(folder: Path, width: int) -> int:
    """Write a random UNet with `width` channels at its first level in diffusers' format; return its size in bytes."""
    config = {"block_out_channels": [width, 2 * width, 4 * width, 4 * width], "cross_attention_dim": 768}
    config |= {"sample_size": 64, "norm_num_groups": 16, "attention_head_dim": 8}
    with paddle.LazyGuard():
        layer = UNet2DConditionModel(**config)
    rng = np.random.default_rng(0)

    def random(shape: tuple[int, ...]) -> LazyTensor:
        return LazyTensor("float32", shape, lambda: rng.standard_normal(shape, dtype=np.float32))

    tensors = {name: random(tuple(tensor.shape)) for name, tensor in layer.state_dict().items()}
    folder.mkdir(parents=True)
    path = folder / "diffusion_pytorch_model.safetensors"
    write_safetensors(path, to_torch_layout(tensors, layer), {"format": "pt"})
    head = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.35.2"}
    (folder / "config.json").write_text(json.dumps({**head, **config}))
    return path.stat().st_size


def peak_mb(*code: str) -> float:
    """Return the peak resident memory of a process that runs `code`, in MB."""
    ran = subprocess.run([sys.executable, "-c", "".join(code) + PEAK], capture_output=True, text=True, check=True)
    return int(ran.stdout.split()[-1]) / 1e3


def measure(work_dir: Path, width: int, formats: tuple[str, ...] = ("pdparams", "safetensors")) -> dict[str, float]:
    """Format -> megabytes above the interpreter's own; the sizes and times are printed."""
    source = work_dir / "source"
    size = write_source(source, width)
    own = peak_mb(IMPORTS)
    print(f"component {size / 1e6:,.0f} MB; interpreter and imports {own:,.0f} MB")
    above = {}
    for format in formats:
        start = time.perf_counter()
        code = CONVERT.format(source=str(source), output=str(work_dir / format), format=format)
        above[format] = peak_mb(IMPORTS, code) - own
        print(f"{format:12} peak {above[format]:7,.0f} MB above it, {time.perf_counter() - start:6.1f} s")
    return above


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=320, help="channels of the first level (default: 320, 3.4 GB)")
    parser.add_argument("--limit_mb", type=float, default=1000, help="highest peak allowed (default: 1000)")
    parser.add_argument("--work_dir", type=Path, help="where to write the files (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work_dir) as folder:
        above = measure(Path(folder), arguments.width)
    return 1 if max(above.values()) > arguments.limit_mb else 0


if __name__ == "__main__":
    sys.exit(main())
