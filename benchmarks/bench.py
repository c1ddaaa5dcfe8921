"""`make bench`: compare ppdiffusers, diffusers and OpenVINO on this machine's processor, in one session.

Each contender is a process. All contenders of a round are started and then run in turn, so that other load on the
machine affects all of them. Medians are compared with diffusers in the same round. Writes `benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bench_contenders import SECOND, STEPS

from ppdiffusers.runtime.threads import physical_cores

HERE = Path(__file__).parent
REFERENCE, DEFAULT = "diffusers eager float32", "ppdiffusers openvino float32"
WORKLOADS = {
    "unet32": "UNet, 32x32 latents, batch 2",
    "unet64": "UNet, 64x64 latents, batch 2",
    "vae": "VAE decode, 512x512",
    "text": "CLIP text encoder, batch 2",
    "image": "text to image, 512x512, 4 steps",
}
NETWORKS = ("unet32", "unet64", "vae", "text")
# (contenders, workloads); the contenders of a round are in memory together.
ROUNDS = (
    ((REFERENCE, DEFAULT, "OpenVINO from the torch model float32"), NETWORKS),
    ((REFERENCE, DEFAULT, SECOND), ("image",)),
    ((REFERENCE, "ppdiffusers onednn float32", "diffusers torch.compile float32"), NETWORKS),
    (
        (REFERENCE, "diffusers eager bfloat16", "ppdiffusers openvino bfloat16", "ppdiffusers onednn bfloat16"),
        tuple(WORKLOADS),
    ),
    ((REFERENCE, "ppdiffusers eager float32"), NETWORKS),
    ((REFERENCE, "ppdiffusers eager float32", "diffusers torch.compile float32"), ("image",)),
    ((REFERENCE, "ppdiffusers onednn float32"), ("image",)),
)
# The maximum size of the cache of programs, and of temporary files before it is trimmed.
DISK_GB = 28
# Each contender repeats a workload until this time has passed, within these numbers of repetitions.
SECONDS_EACH, MAX_REPEATS, MIN_REPEATS = 10.0, 7, 3
TARGETS = (
    (DEFAULT, REFERENCE, 1 / 2.0, ("unet32", "unet64"), "OpenVINO engine at least 2x faster"),
    ("ppdiffusers onednn float32", REFERENCE, 1 / 1.4, ("unet32", "unet64"), "oneDNN engine at least 1.4x faster"),
    (
        DEFAULT,
        "OpenVINO from the torch model float32",
        1.1,
        ("unet32", "unet64"),
        "OpenVINO engine within 1.1x of OpenVINO from torch",
    ),
    (
        DEFAULT,
        "diffusers torch.compile float32",
        1.0,
        ("unet32", "unet64"),
        "default engine not slower than torch.compile",
    ),
    (
        "ppdiffusers onednn float32",
        "OpenVINO from the torch model float32",
        1.5,
        ("unet32", "unet64"),
        "oneDNN engine within 1.5x of OpenVINO from torch",
    ),
    (
        "ppdiffusers openvino bfloat16",
        "diffusers eager bfloat16",
        1.0,
        ("unet32",),
        "bfloat16 not slower than diffusers in bfloat16",
    ),
    (DEFAULT, REFERENCE, 1.0, ("image",), "images after the first, default, not slower"),
)


@dataclass
class Row:
    """One contender at one workload."""

    seconds: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    setup: float = 0.0
    first: float = 0.0
    reference_first: float = 0.0
    peak: int = 0
    private: int = 0
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def relative(self) -> float | None:
        """Time relative to the reference in the same round."""
        return self.median / statistics.median(self.reference) if self.seconds and self.reference else None


class Contender:
    """A process that runs one contender."""

    def __init__(self, name: str, threads: int, cache: str):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PPDIFFUSERS_CACHE": cache}
        environment["PYTHONPATH"] = str(HERE.parent)
        command = [sys.executable, str(HERE / "bench_contenders.py"), name]
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def request(self, **message: Any) -> dict[str, Any]:
        """Send a request and wait for the response."""
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            response = self._process.stdout.readline()
        except BrokenPipeError:
            response = ""
        return json.loads(response) if response else {"ready": False, "error": "the process ended"}

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def busy_share(seconds: float = 1.0) -> float:
    """Return the share of all cores that is in use."""

    def read() -> tuple[int, int]:
        numbers = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(numbers), numbers[3] + numbers[4]

    total, idle = read()
    time.sleep(seconds)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def has_bfloat16() -> bool:
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def product_rate() -> float:
    """Return the GFLOP/s of float32 matrix products: the best of several runs with numpy and torch."""
    import torch

    a = np.random.default_rng(0).standard_normal((4096, 4096)).astype(np.float32)
    b, best = torch.from_numpy(a), 0.0
    for _ in range(4):
        for matrix in (a, b):
            start = time.perf_counter()
            matrix @ matrix
            best = max(best, 2 * 4096**3 / (time.perf_counter() - start) / 1e9)
    return best


def work_of(workload: str) -> float | None:
    """Return the GFLOP of one call, counted by torch on meta tensors."""
    import diffusers
    import torch
    from bench_contenders import UNET, VAE, inputs
    from torch.utils.flop_counter import FlopCounterMode

    if workload[0] not in "uv":
        return None
    with torch.device("meta"), torch.no_grad():
        network = diffusers.UNet2DConditionModel(**UNET) if workload[0] == "u" else diffusers.AutoencoderKL(**VAE)
        call = network if workload[0] == "u" else network.decode
        arguments = [torch.empty(a.shape, dtype=getattr(torch, str(a.dtype)), device="meta") for a in inputs(workload)]
        with FlopCounterMode(display=False) as counter:
            call(*arguments)
    return counter.get_total_flops() / 1e9


def run_round(names: tuple[str, ...], workload: str, threads: int, cache: str, rows: dict, until: float) -> float:
    """Start the contenders of a round and run them in turn; return the load of the machine before."""
    contenders = []
    try:
        for name in names:
            contender = Contender(name, threads, cache)
            contenders.append(contender)
            row = rows.setdefault((workload, name), Row())
            # the first call compiles; in "auto" mode the second one runs programs for the first time
            warm_up = 1 if "eager" in name else 2
            response = contender.request(do="prepare", workload=workload, warm_up=warm_up)
            row.setup, row.first, row.note = (
                response.get(k, d) for k, d in (("setup", 0.0), ("first", 0.0), ("error", ""))
            )
            row.reference_first = rows[workload, REFERENCE].first
            if not response.get("ready"):
                contenders.remove(contender)
                contender.end()
        time.sleep(1.0)  # idle threads spin for a moment
        busy = busy_share()
        spent = dict.fromkeys(names, 0.0)
        collected: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(MAX_REPEATS):
            if turn >= MIN_REPEATS and (max(spent.values()) > SECONDS_EACH or time.monotonic() > until):
                break
            for contender in list(contenders):
                response = contender.request(do="run")
                row = rows[workload, contender.name]
                if "seconds" not in response:
                    row.note = response["error"]
                    contenders.remove(contender)
                    contender.end()
                    continue
                collected[contender.name].append(response["seconds"])
                spent[contender.name] += response["seconds"]
                row.peak, row.private = response["peak"], response["private"]
        for name, seconds in collected.items():
            rows[workload, name].seconds += seconds
            rows[workload, name].reference += collected[REFERENCE]
        return busy
    finally:
        for contender in contenders:
            contender.end()


def report(rows: dict, busy: float, rate: float, work: dict, threads: int, minutes: float) -> str:
    """Return the content of RESULTS.md."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in facts if line.startswith("model name")), "unknown processor")
    lines = [
        "# How fast: ppdiffusers, diffusers, OpenVINO",
        "",
        f"Written by `make bench` (`benchmarks/bench.py`) in {minutes:.0f} minutes. {model}, {threads} cores, "
        f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB, "
        f"{'with' if has_bfloat16() else 'without'} bfloat16 instructions; {platform.platform()}. "
        f"float32 matrix products (4096): {rate:.0f} GFLOP/s. Random weights of Stable Diffusion 1.5's shapes.",
        "",
        f"The machine was {'idle' if busy < 0.1 else f'NOT idle ({busy:.0%} of it busy): do not trust these numbers'}.",
        "",
        "Seconds are medians. *ratio* is the time relative to diffusers eager float32 in the same round (lower is "
        "faster). *share* is the achieved fraction of the measured matrix-product rate. *setup* is the time to create "
        "the networks (and to convert them, for OpenVINO from torch). *first* is the time of the first call, including "
        "compilation and verification, with an empty cache (the *second process* uses the cache of the first). *peak* "
        "is the largest resident memory of the process, *private* its private memory at the end (without mapped "
        "files).",
    ]
    for workload, title in WORKLOADS.items():
        found = {name: row for (load, name), row in rows.items() if load == workload}
        if not found:
            continue
        lines += [
            "",
            f"## {title}",
            "",
            "| | seconds | ratio | share | setup | first | peak MB | private MB |",
            "|---|" + "---|" * 7,
        ]
        for name, row in found.items():
            if row.median is None:
                lines.append(f"| {name} | {row.note} | | | | | | |")
                continue
            share = f"{work[workload] / row.median / rate:.0%}" if work.get(workload) else ""
            cells = [
                f"{row.median:.3f}",
                f"{row.relative:.2f}",
                share,
                f"{row.setup:.0f}",
                f"{row.first:.1f}",
                str(row.peak),
                str(row.private),
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "## Targets", "", "| target | workload | required | measured | |", "|---|---|---|---|---|"]
    lines += [_verdict(rows, target, workload) for target in TARGETS for workload in target[3]]
    lines += [_first_verdict(rows, DEFAULT, "empty"), _first_verdict(rows, SECOND, "filled")]
    lines += [_memory_verdict(rows, workload) for workload in ("unet32", "unet64", "image")]
    lines += [_memory_verdict(rows, "image", SECOND)]
    lines += _first_image(rows)
    notes = HERE / "NOTES.md"
    return "\n".join(lines) + "\n\n" + (notes.read_text(encoding="utf-8") if notes.is_file() else "")


def _verdict(rows: dict, target: tuple, workload: str) -> str:
    """Return a row of the table of targets: two contenders, each relative to the reference in its round."""
    name, other, most, _, title = target
    ours, theirs = rows.get((workload, name), Row()), rows.get((workload, other), Row())
    if ours.relative is None or theirs.relative is None:
        return f"| {title} | {workload} | | not measured: {ours.note or theirs.note or 'no time'} | |"
    return _found(title, workload, most, ours.relative / theirs.relative)


def _first_verdict(rows: dict, name: str, cache: str) -> str:
    """Return a row of the table of targets for the first image of a process."""
    title = f"first image, {STEPS} steps, {cache} cache"
    row = rows.get(("image", name), Row())
    if not row.first or not row.reference_first:
        return f"| {title} | image | | not measured | |"
    return _found(title, "image", 1.0, row.first / row.reference_first)


def _memory_verdict(rows: dict, workload: str, name: str = DEFAULT) -> str:
    title = "peak memory no larger than diffusers'" + (", filled cache" if name == SECOND else "")
    ours, theirs = rows.get((workload, name), Row()), rows.get((workload, REFERENCE), Row())
    if not ours.peak or not theirs.peak:
        return f"| {title} | {workload} | | not measured | |"
    return _found(title, workload, 1.0, ours.peak / theirs.peak)


def _first_image(rows: dict) -> list[str]:
    """Return the number of steps from which the first image, including compilation, is not slower than diffusers'."""
    image, step = rows.get(("image", DEFAULT), Row()), rows.get(("unet64", DEFAULT), Row())
    if image.median is None or step.median is None:
        return []
    saved = statistics.median(step.reference) - step.median
    line = (
        f"The first image of {STEPS} steps with an empty cache takes {image.first:.0f} s, diffusers' "
        f"{image.reference_first:.0f} s; each further step saves {saved:.2f} s"
    )
    if saved > 0:
        steps = STEPS + max(0, math.ceil((image.first - image.reference_first) / saved))
        line += f", so that a first image of {steps} steps or more is not slower"
    return ["", line + "."]


def _found(title: str, workload: str, most: float, found: float) -> str:
    verdict = "met" if found <= most else f"missed by {found / most - 1:.0%}"
    return f"| {title} | {workload} | <= {most:.2f} | {found:.2f} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", nargs="+", type=int, choices=range(1, len(ROUNDS) + 1), help="default: all")
    parser.add_argument("--minutes", type=float, default=90.0, help="start no new round after this time")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    arguments = parser.parse_args()
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    if free < DISK_GB:
        parser.error(f"{tempfile.gettempdir()} has {free:.0f} GB free; programs and weights need {DISK_GB}")
    start, threads = time.monotonic(), physical_cores()
    until = start + arguments.minutes * 60
    rows: dict[tuple[str, str], Row] = {}
    busy, rate = busy_share(), product_rate()
    work = {workload: work_of(workload) for workload in arguments.workloads}
    with tempfile.TemporaryDirectory(prefix="ppdiffusers-bench-") as cache:
        for number in arguments.rounds or range(1, len(ROUNDS) + 1):
            names, workloads = ROUNDS[number - 1]
            for workload in (workload for workload in workloads if workload in arguments.workloads):
                if not has_bfloat16():  # PyTorch's emulation takes minutes for one call of a UNet
                    for name in (name for name in names if "bfloat16" in name):
                        rows[workload, name] = Row(note="this processor has no bfloat16 instructions")
                    names = tuple(name for name in names if "bfloat16" not in name)
                if names == (REFERENCE,):
                    continue
                if time.monotonic() > until:
                    for name in names:
                        rows.setdefault((workload, name), Row(note="no time left"))
                    continue
                print(f"{time.monotonic() - start:5.0f} s  round {number}, {workload}", flush=True)
                busy = max(busy, run_round(names, workload, threads, cache, rows, until))
                minutes = (time.monotonic() - start) / 60
                arguments.output.write_text(report(rows, busy, rate, work, threads, minutes), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
