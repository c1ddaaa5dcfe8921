"""Output of commands: in the user's language, with readable sizes and aligned columns."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterable, Sequence


def uses_chinese() -> bool:
    """Whether to print Chinese: `PPDIFFUSERS_LANG` decides, else the locale of messages.

    False if the encoding of the output has no Chinese characters.
    """
    try:
        "中文".encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    for name in ("PPDIFFUSERS_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return os.environ[name].lower().startswith("zh")
    return (locale.getlocale()[0] or "").lower().startswith(("zh", "chinese"))  # "Chinese (Simplified)" on Windows


def localized(english: str, chinese: str) -> str:
    """Return the text in the user's language."""
    return chinese if uses_chinese() else english


def human_size(count: int | None) -> str:
    """Format a number of bytes: "4.3 GB"; "?" if it is unknown."""
    if count is None:
        return "?"
    size, unit = float(count), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def printable(text: str) -> str:
    """Escape line breaks, control characters and undecodable bytes, which names of files may have."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Align rows in columns, wide characters included; the columns whose indices are in `right` are right-aligned."""
    from rich.cells import cell_len

    right = set(right)
    rows = [[printable(text) for text in row] for row in rows]
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        fills = [" " * (width - cell_len(text)) for text, width in zip(row, widths)]
        cells = [fill + text if at in right else text + fill for at, (text, fill) in enumerate(zip(row, fills))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
