"""Environment variables that are switches."""

from __future__ import annotations

import os


def is_on(name: str) -> bool:
    """Whether the variable says yes: 1, true, yes or on, in any case."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
