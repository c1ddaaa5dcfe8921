"""A section of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Section:
    """Findings about one subject.

    Attributes:
        title: heading of the section.
        facts: (name, value) in the order of printing.
        problems: problems and their solutions, one or two sentences each.
        suggestions: possible improvements.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)
