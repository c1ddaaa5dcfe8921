"""Folders on this machine."""

from __future__ import annotations

from pathlib import Path

from ppdiffusers.core.errors import SourceError
from ppdiffusers.registry import Entry


def subfolder_of(base: Path, subfolder: str | None) -> Path:
    """A folder inside a model's folder, or that folder itself.

    Raises:
        SourceError: there is none of this name.
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
    """Where a pipeline's component lies: in the folder of its name, or beside the index as models of 2022 have it."""
    own, config = base / name, known.legacy_config
    return base if config and not own.is_dir() and (base / config).is_file() else own
