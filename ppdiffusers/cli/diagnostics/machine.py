"""Check the processor, memory, threads, and the GPUs that the driver detects."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.cli.diagnostics.software import installed_version
from ppdiffusers.cli.printing import human_size, localized
from ppdiffusers.runtime.threads import get_num_threads, physical_cores

# Instruction sets that decide which precisions are fast.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def check_machine() -> Section:
    """Report the hardware."""
    section = Section(localized("Machine", "机器"))
    section.facts.append((localized("System", "系统"), platform.platform()))
    name, instructions = _processor()
    section.facts.append((localized("Processor", "处理器"), f"{name} ({', '.join(instructions) or '-'})"))
    cores, threads = physical_cores(), get_num_threads()
    section.facts.append((localized("Physical cores", "物理核心"), str(cores)))
    section.facts.append(
        (localized("Threads", "线程"), f"{threads} (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')})")
    )
    if threads < cores:
        section.suggestions.append(
            localized(
                f"Threads use only {threads} of {cores} cores: set OMP_NUM_THREADS={cores}, or call "
                f"ppdiffusers.set_num_threads({cores}).",
                f"{cores} 个核心中只用了 {threads} 个：设置 OMP_NUM_THREADS={cores}，或调用 "
                f"ppdiffusers.set_num_threads({cores})。",
            )
        )
    memory = _memory()
    if memory is not None:
        section.facts.append((localized("Memory", "内存"), human_size(memory)))
    gpus = _gpus()
    section.facts += [("GPU", gpu) for gpu in gpus]
    if gpus and installed_version("paddlepaddle-gpu") is None:
        section.suggestions.append(
            localized(
                "A GPU is available, but the CPU build of Paddle is installed: run `pip uninstall paddlepaddle`, then "
                "install paddlepaddle-gpu as described in the README.",
                "这台机器有 GPU，但安装的是 CPU 版 Paddle：请先 pip uninstall paddlepaddle，再按 README 安装 "
                "paddlepaddle-gpu。",
            )
        )
    return section


def _processor() -> tuple[str, list[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor() or platform.machine(), []
    name = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.M)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, flags=re.M)
    has = set(flags[1].split()) if flags else set()
    return name[1] if name else platform.machine(), [flag for flag in _INSTRUCTIONS if flag in has]


def _memory() -> int | None:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpus() -> list[str]:
    """Return the GPUs that the NVIDIA driver reports; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return [localized("nvidia-smi timed out", "nvidia-smi 无响应")]
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
