"""Memory that is used again instead of being given back to the operating system after every operation.

The C library gives blocks of more than 32 MB back as soon as they are free. Paddle allocates every result anew, so
that the system maps and clears the same pages again and again: half of the time of a UNet at 64x64 latents.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache

# glibc's names of what `mallopt` sets
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_USER_HAS_SAID = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
# Larger blocks, such as those of whole checkpoints, come and go seldom.
_KEPT_UP_TO, _KEPT_IN_ALL = 2**27, 2**31 - 1
# What glibc arrives at by itself when a program frees large blocks; older ones do not take more than this.
_USUAL_UP_TO, _USUAL_IN_ALL = 2**25, 2**26


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is one that can be told, and the user has not told it by its variables."""
    if sys.platform != "linux" or any(name in os.environ for name in _USER_HAS_SAID):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _keep(up_to: int, in_all: int) -> None:
    if _glibc() is not None:
        if not _glibc().mallopt(_M_MMAP_THRESHOLD, up_to):
            _glibc().mallopt(_M_MMAP_THRESHOLD, _USUAL_UP_TO)
        _glibc().mallopt(_M_TRIM_THRESHOLD, in_all)


def keep_freed_memory() -> None:
    """Let this process use freed blocks again. Setting one of glibc's `MALLOC_..._` variables turns this off."""
    _keep(_KEPT_UP_TO, _KEPT_IN_ALL)


def give_memory_back() -> None:
    """Give everything that is free back to the operating system now."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)


@contextlib.contextmanager
def memory_given_back() -> Iterator[None]:
    """Before, while and after something that takes much memory for a short time, let the system have what is free."""
    give_memory_back()
    _keep(_USUAL_UP_TO, _USUAL_IN_ALL)
    try:
        yield
    finally:
        keep_freed_memory()
        give_memory_back()
