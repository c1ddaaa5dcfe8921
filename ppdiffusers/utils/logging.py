"""Loggers of ppdiffusers: names, verbosity, handlers and progress bars."""

from __future__ import annotations

import logging
import threading
from logging import CRITICAL, DEBUG, ERROR, FATAL, INFO, NOTSET, WARN, WARNING

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "FATAL",
    "INFO",
    "NOTSET",
    "WARN",
    "WARNING",
    "add_handler",
    "disable_default_handler",
    "disable_progress_bar",
    "disable_propagation",
    "enable_default_handler",
    "enable_explicit_format",
    "enable_progress_bar",
    "enable_propagation",
    "get_log_levels_dict",
    "get_logger",
    "get_verbosity",
    "is_progress_bar_enabled",
    "remove_handler",
    "reset_format",
    "set_verbosity",
    "set_verbosity_debug",
    "set_verbosity_error",
    "set_verbosity_info",
    "set_verbosity_warning",
]

log_levels = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR, "critical": CRITICAL}
_EXPLICIT_FORMAT = "[%(levelname)s|%(filename)s:%(lineno)s] %(asctime)s >> %(message)s"

_lock = threading.Lock()
_default_handler: logging.Handler | None = None
_progress_bars = True


def get_logger(name: str | None = None) -> logging.Logger:
    """Return the logger of a module (pass `__name__`), or the logger of the library."""
    if name is None or name == "ppdiffusers":
        return logging.getLogger("ppdiffusers")
    return logging.getLogger(name if name.startswith("ppdiffusers.") else f"ppdiffusers.{name}")


# -- verbosity --------------------------------------------------------------------------------------------------------


def get_log_levels_dict() -> dict[str, int]:
    """Return the level of each name."""
    return dict(log_levels)


def get_verbosity() -> int:
    """Return the level from which messages are logged."""
    return get_logger().getEffectiveLevel()


def set_verbosity(verbosity: int) -> None:
    """Log messages of this level and above, such as `logging.INFO`.

    If the application has configured no handler, messages go to stderr.
    """
    get_logger().setLevel(verbosity)
    if not get_logger().hasHandlers():
        enable_default_handler()


def set_verbosity_info() -> None:
    """Log information, warnings and errors."""
    set_verbosity(INFO)


def set_verbosity_warning() -> None:
    """Log warnings and errors."""
    set_verbosity(WARNING)


def set_verbosity_debug() -> None:
    """Log everything."""
    set_verbosity(DEBUG)


def set_verbosity_error() -> None:
    """Log errors."""
    set_verbosity(ERROR)


# -- handlers ---------------------------------------------------------------------------------------------------------


def enable_default_handler() -> None:
    """Write messages to stderr."""
    global _default_handler
    with _lock:
        if _default_handler is None:
            _default_handler = logging.StreamHandler()
        get_logger().addHandler(_default_handler)


def disable_default_handler() -> None:
    """Remove the handler that `enable_default_handler` or `set_verbosity` added."""
    with _lock:
        if _default_handler is not None:
            get_logger().removeHandler(_default_handler)


def add_handler(handler: logging.Handler) -> None:
    """Add a handler to the logger of the library."""
    get_logger().addHandler(handler)


def remove_handler(handler: logging.Handler) -> None:
    """Remove a handler from the logger of the library."""
    get_logger().removeHandler(handler)


def enable_propagation() -> None:
    """Pass messages to the handlers of the root logger (the default)."""
    get_logger().propagate = True


def disable_propagation() -> None:
    """Keep messages from the handlers of the root logger."""
    get_logger().propagate = False


def enable_explicit_format() -> None:
    """Write the level, the file, the line and the time with each message."""
    for handler in get_logger().handlers:
        handler.setFormatter(logging.Formatter(_EXPLICIT_FORMAT))


def reset_format() -> None:
    """Write only the message."""
    for handler in get_logger().handlers:
        handler.setFormatter(None)


# -- progress bars ----------------------------------------------------------------------------------------------------


def is_progress_bar_enabled() -> bool:
    """Whether downloads show progress bars."""
    return _progress_bars


def enable_progress_bar() -> None:
    """Show progress bars of downloads (the default)."""
    global _progress_bars
    _progress_bars = True


def disable_progress_bar() -> None:
    """Hide progress bars of downloads; `pipe.set_progress_bar_config(disable=True)` hides those of a pipeline."""
    global _progress_bars
    _progress_bars = False
