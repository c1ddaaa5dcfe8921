"""A part of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Section:
    """What was found about one subject.

    Attributes:
        title: the subject.
        facts: (what, value) in the order in which they are printed.
        problems: what is wrong and what to do, a sentence or two each.
        remarks: what is not wrong and could be better.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
