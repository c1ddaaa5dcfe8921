"""What commands print: in the language of the reader, sizes for people, columns that line up."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterable, Sequence


def speaks_chinese() -> bool:
    """Whether to print Chinese: `PPDIFFUSERS_LANG`, else the first that is set of what decides about messages.

    Never where the output cannot hold it, such as ASCII.
    """
    try:
        "中文".encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    for name in ("PPDIFFUSERS_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return os.environ[name].lower().startswith("zh")
    return (locale.getlocale()[0] or "").lower().startswith(("zh", "chinese"))  # as Windows calls it


def say(english: str, chinese: str) -> str:
    """The one of both that the reader reads."""
    return chinese if speaks_chinese() else english


def human_size(count: int | None) -> str:
    """Bytes as people read them: "4.3 GB"; "?" if the number is not known."""
    if count is None:
        return "?"
    size, unit = float(count), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Lines in which the columns line up, wide characters too; those numbered in `right` end at the same place."""
    from rich.cells import cell_len

    right = set(right)
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        fills = [" " * (width - cell_len(text)) for text, width in zip(row, widths)]
        cells = [fill + text if at in right else text + fill for at, (text, fill) in enumerate(zip(row, fills))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
