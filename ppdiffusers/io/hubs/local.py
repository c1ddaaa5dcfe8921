"""Model folders on this machine."""

from __future__ import annotations

from pathlib import Path

from ppdiffusers.core.errors import SourceError
from ppdiffusers.registry import Entry


def find_subfolder(base: Path, subfolder: str | None) -> Path:
    """Return a folder inside a model's folder, or that folder itself.

    Raises:
        SourceError: the folder has no such subfolder.
    """
    folder = base / subfolder if subfolder else base
    if not folder.is_dir():
        present = sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        raise SourceError(
            f"The model folder has no subfolder {subfolder!r}.",
            where=base,
            expected=f"one of: {', '.join(present) or 'it has no subfolders'}",
            remedy="check `subfolder`.",
        )
    return folder


def component_folder(base: Path, name: str, known: Entry) -> Path:
    """Return the folder of a pipeline's component: its subfolder, or that of the index, as in models of 2022."""
    own, config = base / name, known.legacy_config
    return base if config and not own.is_dir() and (base / config).is_file() else own
