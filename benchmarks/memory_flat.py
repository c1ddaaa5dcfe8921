"""Memory of a process that generates many images, and of one that loads and unloads a pipeline many times.

    python benchmarks/memory_flat.py [MODEL] [--images 200] [--loads 50]

MODEL is the folder of a pipeline without required arguments; by default, a small random pipeline is written. Resident
memory is printed after a tenth of the repetitions, when allocators and caches are filled, after half, and at the end.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import paddle

from ppdiffusers import DDIMPipeline, DDIMScheduler, DiffusionPipeline, UNet2DModel


def resident() -> float:
    """Return the resident memory of this process in MB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_small_pipeline(folder: Path) -> None:
    """Write a pipeline of 3.6 million random parameters, 14 MB."""
    paddle.seed(0)
    unet = UNet2DModel(sample_size=16, block_out_channels=(64, 128), norm_num_groups=8, layers_per_block=1,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"))  # fmt: skip
    DDIMPipeline(unet, DDIMScheduler()).save_pretrained(folder)


def repeat(what: str, times: int, action: Callable[[], object]) -> None:
    """Repeat an action and print the memory after a tenth of the repetitions, at half, and at the end."""
    marks = {}
    for n in range(1, times + 1):
        action()
        if n in (max(times // 10, 1), times // 2, times):
            marks[n] = resident()
    print(f"{what}: " + ", ".join(f"{memory:.1f} MB after {n}" for n, memory in marks.items()), flush=True)


def main() -> None:
    """Run both loops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--loads", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or Path(temporary)
        if arguments.model is None:
            write_small_pipeline(folder)
        for mode in ("off", "on"):
            pipe = DiffusionPipeline.from_pretrained(folder, compile=mode)
            pipe.set_progress_bar_config(disable=True)
            repeat(f"images, compile={mode!r}", arguments.images, lambda pipe=pipe: pipe(num_inference_steps=2))
        del pipe
        repeat("loads", arguments.loads, lambda: DiffusionPipeline.from_pretrained(folder))


if __name__ == "__main__":
    main()
