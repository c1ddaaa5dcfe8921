"""Read switches and numbers from environment variables."""

from __future__ import annotations

import os

from ppdiffusers.core.errors import InputError


def is_on(name: str) -> bool:
    """Return whether the variable is 1, true, yes or on, in upper or lower case."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def read_number(name: str, default: float, what: str, low: float, high: float, whole: bool = False) -> float:
    """Return the number in the variable; `default` if it is unset or empty.

    Args:
        what: the unit, for the error message: "seconds".
        low: the smallest valid number.
        high: the largest valid number.
        whole: whether the number must be an integer.

    Raises:
        InputError: the value is not a finite number, is outside the limits, or is not an integer where it must be.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")  # fails the comparison with the limits
    if not low <= number <= high or (whole and not number.is_integer()):
        kind = "a whole number of" if whole else "a number of"
        raise InputError(
            f"{name} is {text!r}.",
            where="the environment",
            expected=f"{kind} {what} from {low:g} to {high:g}",
            remedy=f"unset {name} to use the default, {default:g}.",
        )
    return number
