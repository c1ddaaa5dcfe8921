"""Loggers under the name `ppdiffusers`, and how much they say."""

from __future__ import annotations

import logging

DEBUG, INFO, WARNING, ERROR, CRITICAL = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL


def get_logger(name: str | None = None) -> logging.Logger:
    """The logger of a module (give `__name__`), or the library's own."""
    if name is None or name == "ppdiffusers":
        return logging.getLogger("ppdiffusers")
    return logging.getLogger(name if name.startswith("ppdiffusers.") else f"ppdiffusers.{name}")


def get_verbosity() -> int:
    """The level below which the library is silent."""
    return get_logger().getEffectiveLevel()


def set_verbosity(level: int) -> None:
    """Say messages of `level` and above, such as `logging.INFO`."""
    get_logger().setLevel(level)


def set_verbosity_info() -> None:
    set_verbosity(INFO)


def set_verbosity_warning() -> None:
    set_verbosity(WARNING)


def set_verbosity_debug() -> None:
    set_verbosity(DEBUG)


def set_verbosity_error() -> None:
    set_verbosity(ERROR)
