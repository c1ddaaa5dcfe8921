"""The number of threads that compute, and their instruction set.

Paddle sets `OMP_NUM_THREADS=1` at import unless the variable is set, so that its own kernels use one core. Therefore
`import ppdiffusers` sets the variable first, to the number of physical cores, unless the user has set it.

The MKL of 2019 in Paddle's wheels multiplies matrices with AVX2 only on Intel's processors, unless
`MKL_DEBUG_CPU_TYPE` is 5. On AMD's processors eager mode is two to three times as fast with it (measured on an EPYC).
MKL reads the variable at the first matrix product, so that it can also be set after Paddle was imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ppdiffusers.core.errors import InputError

_VARIABLE = "OMP_NUM_THREADS"
_MKL_VARIABLE, _MKL_AVX2 = "MKL_DEBUG_CPU_TYPE", "5"
_chosen: int | None = None


def physical_cores() -> int:
    """Return the number of physical cores that this process may use; two hyper-threads are one core."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, len(cores))


def _core_of(cpu: int) -> str:
    siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return siblings.read_text()
    except OSError:  # not Linux, or a container that hides it: every processor counts
        return str(cpu)


def prepare() -> None:
    """Before Paddle is imported, set the variables that let it use all cores and their AVX2."""
    if "paddle" not in sys.modules:
        os.environ[_VARIABLE] = str(get_num_threads())  # Paddle reads one number only
    if _is_amd_with_avx2():
        os.environ.setdefault(_MKL_VARIABLE, _MKL_AVX2)


def _is_amd_with_avx2() -> bool:
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "AuthenticAMD" in words and "avx2" in words


def set_num_threads(count: int) -> None:
    """Set the number of threads of Paddle's own kernels and of programs that are compiled after this call.

    Raises:
        InputError: `count` is not a positive integer.
    """
    global _chosen
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(f"The number of threads is {count!r}.", expected="an integer of 1 or more")
    _chosen = count
    os.environ[_VARIABLE] = str(count)
    if "paddle" in sys.modules:
        sys.modules["paddle"].base.core.set_num_threads(count)


def get_num_threads() -> int:
    """Return the number of threads: `set_num_threads`, else `OMP_NUM_THREADS`, else the number of physical cores."""
    if _chosen is not None:
        return _chosen
    first = os.environ.get(_VARIABLE, "").split(",")[0]  # one number for each nesting level
    return int(first) if first.isdecimal() and int(first) > 0 else physical_cores()
