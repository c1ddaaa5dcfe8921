"""Environment variables that are switches or numbers."""

from __future__ import annotations

import os

from ppdiffusers.core.errors import InputError


def is_on(name: str) -> bool:
    """Whether the variable says yes: 1, true, yes or on, in any case."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def read_number(name: str, default: float, what: str, low: float, high: float, whole: bool = False) -> float:
    """The number that the variable holds; `default` if it is unset or empty.

    Args:
        what: what the number counts, for the error's message: "seconds".
        low: the least number that makes sense.
        high: the greatest.
        whole: whether there are no fractions of it.

    Raises:
        InputError: the text is no number, not a finite one, outside the limits, or a fraction of what is whole.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")  # which no limits hold
    if not low <= number <= high or (whole and not number.is_integer()):
        kind = "a whole number of" if whole else "a number of"
        raise InputError(
            f"{name} is {text!r}.",
            where="the environment",
            expected=f"{kind} {what} from {low:g} to {high:g}",
            remedy=f"unset {name} to have the default, {default:g}.",
        )
    return number
