"""Name or path -> local folder."""

from __future__ import annotations

import os
from pathlib import Path

from ppdiffusers.core.errors import SourceError


def resolve_folder(name_or_path: str | os.PathLike, subfolder: str | None = None) -> Path:
    """The local folder of a model.

    Args:
        name_or_path: a folder.
        subfolder: a folder inside it, such as "unet".

    Raises:
        SourceError: there is no such folder.
    """
    base = Path(name_or_path).expanduser()
    if not base.is_dir():
        is_file = base.is_file()
        raise SourceError(
            "This is a file, not a model folder." if is_file else "There is no such model folder.",
            where=base,
            expected="a folder with a configuration and weights, as save_pretrained or a download writes it",
            remedy=f"give the folder: {base.parent}"
            if is_file
            else "check the path; a model of a hub has to be downloaded first (for example with `git clone` or the "
            "hub's own tool), then give its folder.",
        )
    folder = base / subfolder if subfolder else base
    if not folder.is_dir():
        present = sorted(entry.name for entry in base.iterdir() if entry.is_dir())
        raise SourceError(
            f"The model folder has no subfolder {subfolder!r}.",
            where=base,
            expected=f"one of: {', '.join(present) or 'it has no subfolders'}",
            remedy="check `subfolder`.",
        )
    return folder
