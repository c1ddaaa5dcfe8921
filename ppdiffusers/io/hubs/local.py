"""Model folders on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.files import path_inside
from ppdiffusers.registry import Entry


def find_subfolder(base: Path, subfolder: str | None) -> Path:
    """Return a folder inside a model's folder, or that folder itself.

    Raises:
        InputError: this is not a name.
        SourceError: the folder has no such subfolder.
    """
    folder = path_inside(base, subfolder, "subfolder") if subfolder else base
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


def following_names(names: list[str]) -> list[str]:
    """Return the folder names that the network after `names` may have, the preferred one first.

    `MultiAdapter` of diffusers 0.35 appends each number to the name before it: "adapter", "adapter_1", "adapter_1_2".
    """
    n = len(names)
    return list(dict.fromkeys([numbered_name(names[0], n), f"{names[-1]}_{n}"]))


def numbered_folders(folder: str | os.PathLike) -> list[Path]:
    """Return the numbered folders that exist, up to the first missing number."""
    found = [Path(folder)]
    while found[-1].is_dir():
        candidates = [found[0].with_name(name) for name in following_names([one.name for one in found])]
        found.append(next((one for one in candidates if one.is_dir()), candidates[0]))
    return found[:-1]
