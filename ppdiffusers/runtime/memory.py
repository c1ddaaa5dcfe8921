"""Reuse of freed memory instead of returning it to the operating system after every operation.

By default glibc returns blocks of more than 32 MB to the system as soon as they are freed. Paddle allocates each
result anew, so that the system maps and clears the same pages repeatedly: half of the time of a UNet at 64x64 latents.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache

# glibc's parameters of `mallopt`
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
# Larger blocks, such as those of whole checkpoints, are allocated rarely.
_KEPT_BLOCK_BYTES, _KEPT_TOTAL_BYTES = 2**27, 2**31 - 1
# The values that glibc adapts to when a program frees large blocks; older versions accept no larger ones.
_DEFAULT_BLOCK_BYTES, _DEFAULT_TOTAL_BYTES = 2**25, 2**26


@cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it has `mallopt` and the user has not configured it with its variables."""
    if sys.platform != "linux" or any(name in os.environ for name in _USER_SETTINGS):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _set_thresholds(block_bytes: int, total_bytes: int) -> None:
    if _glibc() is not None:
        if not _glibc().mallopt(_M_MMAP_THRESHOLD, block_bytes):
            _glibc().mallopt(_M_MMAP_THRESHOLD, _DEFAULT_BLOCK_BYTES)
        _glibc().mallopt(_M_TRIM_THRESHOLD, total_bytes)


def keep_freed_memory() -> None:
    """Let this process reuse freed blocks. Setting one of glibc's `MALLOC_..._` variables turns this off."""
    _set_thresholds(_KEPT_BLOCK_BYTES, _KEPT_TOTAL_BYTES)


def release_free_memory() -> None:
    """Return all free memory to the operating system."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)


@contextlib.contextmanager
def free_memory_released() -> Iterator[None]:
    """Return free memory to the system before, during and after a block that needs much memory for a short time."""
    release_free_memory()
    _set_thresholds(_DEFAULT_BLOCK_BYTES, _DEFAULT_TOTAL_BYTES)
    try:
        yield
    finally:
        keep_freed_memory()
        release_free_memory()
