"""Docstrings with examples."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable)

_PLACEHOLDER = re.compile(r"^[ \t]*Examples?:[ \t]*$", re.MULTILINE)


def replace_example_docstring(example_docstring: str) -> Callable[[F], F]:
    """Return a decorator that puts an example in place of the line "Examples:" of a docstring.

    Raises:
        ValueError: (by the decorator) the docstring has no such line.
    """

    def decorate(function: F) -> F:
        text = function.__doc__ or ""
        if _PLACEHOLDER.search(text) is None:
            raise ValueError(f"The docstring of {function.__qualname__} has no line `Examples:` to replace.")
        function.__doc__ = _PLACEHOLDER.sub(lambda found: example_docstring, text, count=1)
        return function

    return decorate
