"""Compare the speed of `TorchGenerator` and torch on one core; runs of both are interleaved.

    OMP_NUM_THREADS=1 python benchmarks/torch_random.py

The best of many runs of each, in milliseconds, and their ratio.
"""

import argparse
import time

import torch

from ppdiffusers import TorchGenerator


def fastest(sides: dict, rounds: int) -> dict[str, float]:
    """Return the milliseconds of the fastest run of each; runs are interleaved, so that load affects both."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, draw in sides.items():
            start = time.perf_counter()
            draw()
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2**20, help="numbers in one draw")
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    print(f"{arguments.count} numbers, torch {torch.__version__}, one thread")
    print("| draw | torch, ms | ppdiffusers, ms | ratio |\n|---|---|---|---|")
    for kind in ("randn", "rand"):
        for dtype in ("float32", "float64", "float16", "bfloat16"):
            ours, theirs = TorchGenerator(0), torch.Generator().manual_seed(0)
            best = fastest(
                {
                    "torch": lambda k=kind, d=dtype, g=theirs: getattr(torch, k)(
                        arguments.count, generator=g, dtype=getattr(torch, d)
                    ),
                    "ours": lambda k=kind, d=dtype, g=ours: getattr(g, k)(arguments.count, d),
                },
                arguments.rounds,
            )
            ratio = best["ours"] / best["torch"]
            print(f"| {kind} {dtype} | {best['torch']:.1f} | {best['ours']:.1f} | {ratio:.2f} |")
    cuda = TorchGenerator(0, "cuda")
    best = fastest({"cuda": lambda: cuda.randn(arguments.count)}, arguments.rounds)
    print(f"| randn float32 of the CUDA stream | | {best['cuda']:.1f} | |")


if __name__ == "__main__":
    main()
