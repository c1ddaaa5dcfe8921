"""Model folders on this machine."""

from __future__ import annotations

import os
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


def numbered_name(name: str, n: int) -> str:
    """Return the folder name of network number `n` of a component with several: "controlnet", "controlnet_1", ..."""
    return name if n == 0 else f"{name}_{n}"


def numbered_folder(folder: str | os.PathLike, n: int) -> Path:
    """Return the folder of network number `n`, next to that of the first one."""
    folder = Path(folder)
    return folder.with_name(numbered_name(folder.name, n))


def numbered_folders(folder: str | os.PathLike) -> list[Path]:
    """Return the numbered folders that exist, up to the first missing number."""
    found: list[Path] = []
    while (following := numbered_folder(folder, len(found))).is_dir():
        found.append(following)
    return found
