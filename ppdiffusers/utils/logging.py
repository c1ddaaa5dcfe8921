"""Loggers of ppdiffusers and their verbosity."""

from __future__ import annotations

import logging

DEBUG, INFO, WARNING, ERROR, CRITICAL = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL


def get_logger(name: str | None = None) -> logging.Logger:
    """Return the logger of a module (pass `__name__`), or that of the library."""
    if name is None or name == "ppdiffusers":
        return logging.getLogger("ppdiffusers")
    return logging.getLogger(name if name.startswith("ppdiffusers.") else f"ppdiffusers.{name}")


def get_verbosity() -> int:
    """Return the level below which the library logs nothing."""
    return get_logger().getEffectiveLevel()


def set_verbosity(level: int) -> None:
    """Log messages of `level` and above, such as `logging.INFO`."""
    get_logger().setLevel(level)


def set_verbosity_info() -> None:
    set_verbosity(INFO)


def set_verbosity_warning() -> None:
    set_verbosity(WARNING)


def set_verbosity_debug() -> None:
    set_verbosity(DEBUG)


def set_verbosity_error() -> None:
    set_verbosity(ERROR)
