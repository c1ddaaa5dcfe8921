"""The errors of ppdiffusers: each message says what is wrong, where, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from ppdiffusers.core.addresses import hide_secrets, shown_address

_MOST_PROBLEMS = 1000  # in a message
_LONGEST_PROBLEM = 2000  # characters


class PPDiffusersError(Exception):
    """Base class of all errors that ppdiffusers raises.

    Args:
        what: one sentence that says what is wrong.
        where: the file, folder, component or argument with the problem.
        problems: all findings, so that one run shows all of them.
        expected: the expected value or state.
        remedy: what the user can do.
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
        self.where = None if where is None else shown_address(str(where))
        self.problems = list(problems)
        self.expected = expected
        self.remedy = remedy
        super().__init__(self._message())

    def at(self, where: object) -> None:
        """Set the place of the problem, if the error has none."""
        if self.where is None:
            self.where = shown_address(str(where))
            self.args = (self._message(),)

    def _message(self) -> str:
        lines = [self.what if self.where is None else f"{self.what}\n  where: {self.where}"]
        lines += [f"  - {str(problem)[:_LONGEST_PROBLEM]}" for problem in self.problems[:_MOST_PROBLEMS]]
        if len(self.problems) > _MOST_PROBLEMS:
            lines.append(f"  - and {len(self.problems) - _MOST_PROBLEMS} more")
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.remedy is not None:
            lines.append(f"  what to do: {self.remedy}")
        return hide_secrets("\n".join(lines))


class InputError(PPDiffusersError, ValueError):
    """An invalid argument."""


class ConfigError(PPDiffusersError, ValueError):
    """A configuration that is missing, unreadable, or has unknown keys or values."""


class WeightsError(PPDiffusersError, ValueError):
    """Weights that are missing, unexpected, truncated or damaged, or have wrong shapes."""


class UnsafeFileError(PPDiffusersError, ValueError):
    """A file that names code to run, or a name that points outside its folder."""


class SourceError(PPDiffusersError, OSError):
    """A model name or path without usable files."""

    def __str__(self) -> str:  # OSError would format errno and strerror
        return self._message()


class ConversionError(PPDiffusersError, RuntimeError):
    """A conversion that cannot be completed, or whose result differs from its source."""


class MissingDependencyError(PPDiffusersError, ImportError):
    """An optional package that is required and is not installed."""

    def __str__(self) -> str:  # ImportError would print `msg` only
        return self._message()
