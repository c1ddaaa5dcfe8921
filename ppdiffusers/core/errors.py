"""The error types of ppdiffusers: each message says what is wrong, where, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class PPDiffusersError(Exception):
    """Base of all errors raised on purpose by ppdiffusers.

    Args:
        what: one sentence that says what is wrong.
        where: the file, folder, component or argument it is about.
        problems: every single finding, so that one run shows all of them.
        expected: what would have been right.
        remedy: what the reader can do now.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        problems: Iterable[str] = (),
        expected: str | None = None,
        remedy: str | None = None,
    ):
        self.what = what
        self.where = None if where is None else str(where)
        self.problems = list(problems)
        self.expected = expected
        self.remedy = remedy
        super().__init__(self._message())

    def _message(self) -> str:
        lines = [self.what if self.where is None else f"{self.what}\n  where: {self.where}"]
        lines += [f"  - {problem}" for problem in self.problems]
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.remedy is not None:
            lines.append(f"  what to do: {self.remedy}")
        return "\n".join(lines)


class InputError(PPDiffusersError, ValueError):
    """An argument that a call cannot work with."""


class ConfigError(PPDiffusersError, ValueError):
    """A configuration that is missing, unreadable, or asks for something we do not know."""


class WeightsError(PPDiffusersError, ValueError):
    """Weights that are missing, unexpected, mis-shaped, truncated or corrupt."""


class UnsafeFileError(PPDiffusersError, ValueError):
    """A file that wants to run code, or a name that points outside its folder."""


class SourceError(PPDiffusersError, OSError):
    """A model name or path under which nothing usable was found."""

    def __str__(self) -> str:  # OSError would print its own errno form
        return self._message()


class ConversionError(PPDiffusersError, RuntimeError):
    """A conversion that cannot be finished, or whose result disagrees with its source."""


class MissingDependencyError(PPDiffusersError, ImportError):
    """An optional package that is needed now and is not installed."""

    def __str__(self) -> str:  # ImportError would print only its `msg`
        return self._message()
