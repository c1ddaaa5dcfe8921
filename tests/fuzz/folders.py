"""Hostile folders: names, links, pipes, devices and duplicates in a model folder; see `docs/reliability.md`."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutations import HOSTILE

_NAMES = (
    "model.safetensors",
    "config.json",
    "a\nb.json",
    "é" * 100,
    "x" * 250,
    "-rf",
    "C:\\a.bin",
    "con",
    ".part",
    "%s",
)
_INDICES = (
    "diffusion_pytorch_model.safetensors.index.json",
    "model_state.pdparams.index.json",
    "model.fp16.index.json",
)


@dataclass(frozen=True)
class FolderTarget:
    """A folder whose structure is changed, and the function that loads it; used as `corpus.Target`."""

    name: str
    folder: Path
    load: Callable[[Path], object]

    hostile = False

    def run(self, seed: int, folder: Path) -> object:
        """Load a copy of the folder after one to four changes."""
        rng = random.Random(f"{self.name}:{seed}")
        copy = folder / self.folder.name
        shutil.copytree(self.folder, copy)
        for _ in range(rng.choice((1, 1, 2, 4))):
            change(rng, copy)
        return self.load(copy)


def change(rng: random.Random, root: Path) -> None:
    """Change one thing in a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    files = [file for file in files if file.stat().st_size < 1 << 30]  # not what an earlier change made
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    if not files:
        return
    file, folder = rng.choice(files), rng.choice(folders)
    action = rng.randrange(12)
    if action <= 2:
        content = file.read_bytes()
        file.unlink()
        HOSTILE[rng.choice(list(HOSTILE))](file, content)
    elif action == 3 and folder != root:  # a folder becomes a file, a link to its parent, or a link out
        shutil.rmtree(folder)
        rng.choice((folder.touch, lambda: folder.symlink_to(".."), lambda: folder.symlink_to("/proc/self/fd")))()
    elif action == 4:
        file.unlink()
    elif action == 5 and folder != root:
        shutil.rmtree(folder)
    elif action == 6:
        new = file.with_name(rng.choice(files).name)
        if not new.is_dir():
            file.rename(new)
    elif action == 7:  # names that a system accepts
        place = os.path.join(
            os.fsencode(folder), rng.choice((b"\xff\xfe.json", *(os.fsencode(name) for name in _NAMES)))
        )
        if not os.path.lexists(place):
            shutil.copyfile(os.fsencode(file), place)
    elif action == 8:
        name = rng.choice(_INDICES)
        shards = (
            name,
            "../" + file.name,
            file.name,
            "/dev/zero",
            "missing.safetensors",
            "config.json",
            3,
            None,
            [name],
        )
        weight_map = {f"{n}.weight": rng.choice(shards) for n in range(rng.choice((1, 3, 1000)))}
        if not os.path.lexists(folder / name):  # an earlier change may have made a link or a pipe
            (folder / name).write_text(json.dumps({"weight_map": weight_map}))
    elif action == 9:
        (folder / f"copy{rng.randrange(10**6)}").mkdir()
        shutil.copyfile(file, folder / f"copy{rng.randrange(10**6)}")
    elif action == 10:
        deep = folder.joinpath(*["deep"] * 60)
        deep.mkdir(parents=True, exist_ok=True)
    else:
        for n in range(500):
            path = folder / f"model-{n:05d}-of-00500.safetensors"
            if not os.path.lexists(path):
                path.touch()
