"""Any weights file of either framework -> a mapping of names to tensors that are read when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError, SourceError, UnsafeFileError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.pdparams import read_pdparams, write_pdparams
from ppdiffusers.io.safetensors_file import read_safetensors, write_safetensors
from ppdiffusers.io.torch_pickle import read_torch_file

__all__ = ["Checkpoint", "open_weights", "write_pdparams", "write_safetensors"]

TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
SUFFIXES = (".safetensors", ".pdparams", *TORCH_SUFFIXES)
# `format` in a safetensors file's metadata -> whose layout it has; "np" is what paddlenlp writes
_METADATA_FRAMEWORK = {"pt": "pytorch", "pd": "paddle", "np": "paddle"}


@dataclass(frozen=True)
class Checkpoint(Mapping[str, LazyTensor]):
    """The tensors of a checkpoint.

    Attributes:
        tensors: name -> tensor, not yet read.
        framework: whose layout the matrices of Linear layers have: "pytorch" ([out, in]) or "paddle" ([in, out]).
        files: the files they lie in; for a sharded checkpoint the index comes first.
        metadata: what the header of a safetensors file says besides.
    """

    tensors: Mapping[str, LazyTensor]
    framework: str
    files: tuple[Path, ...]
    metadata: Mapping[str, str]

    def __getitem__(self, name: str) -> LazyTensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def open_weights(path: str | os.PathLike, nested: bool = False) -> Checkpoint:
    """Open a weights file or the index of a sharded one; no tensor is read yet.

    Args:
        path: `.safetensors`, `.pdparams`, `.bin`, `.pt`, `.pth`, `.ckpt`, or `*.index.json`.
        nested: a training checkpoint of PyTorch gives all its tensors (`read_torch_file`), not one state dict.

    Raises:
        SourceError: there is no such file, or its kind is not known.
        WeightsError: it is truncated, damaged, or something else than weights; or shards are missing.
        UnsafeFileError: a pickle wants to run code, or an index points outside its folder.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError("There is no such weights file.", where=path, remedy="check the path.")
    if path.name.endswith(".json"):
        return _open_index(path)
    if path.suffix not in SUFFIXES:
        raise SourceError("This is no weights file that we know.", where=path, expected=", ".join(SUFFIXES))
    _refuse_impostors(path)
    metadata: Mapping[str, str] = {}
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        named_paddle = path.name.startswith(("model_state", "diffusion_paddle_model"))
        framework = _METADATA_FRAMEWORK.get(metadata.get("format"), "paddle" if named_paddle else "pytorch")
    elif path.suffix == ".pdparams":
        tensors, framework = read_pdparams(path), "paddle"
    else:
        tensors, framework = read_torch_file(path, nested), "pytorch"
    return Checkpoint(tensors, framework, (path,), metadata)


def _open_index(path: Path) -> Checkpoint:
    """A sharded checkpoint: `weight_map` says which file has which tensor."""
    try:
        weight_map = read_json(path).get("weight_map")
    except ConfigError as error:
        raise WeightsError(
            "The index of a sharded checkpoint cannot be read.", where=path, problems=[error.what]
        ) from error
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise WeightsError(
            "The index of a sharded checkpoint has no `weight_map`.",
            where=path,
            expected='{"weight_map": {name: file}}',
        )
    names = sorted(set(weight_map.values()))
    outside = [name for name in names if not is_plain_name(name)]
    if outside:
        raise UnsafeFileError(
            "The index of a sharded checkpoint names files outside its folder.",
            where=path,
            problems=outside,
            expected="names of files that lie beside the index",
        )
    absent = [name for name in names if not (path.parent / name).is_file()]
    if absent:
        raise WeightsError(
            "Shards of the checkpoint are missing.", where=path, problems=absent, remedy="fetch the missing files."
        )
    shards = {name: open_weights(path.parent / name) for name in names}
    lost = [f"{key} in {name}" for key, name in weight_map.items() if key not in shards[name]]
    frameworks = {shard.framework for shard in shards.values()}
    if lost or len(frameworks) > 1:
        mixed = ["the shards mix PyTorch's layout and Paddle's"] if len(frameworks) > 1 else []
        raise WeightsError("The shards are not what their index says.", where=path, problems=[*lost, *mixed])
    tensors = {key: shards[name][key] for key, name in weight_map.items()}
    files = (path, *(path.parent / name for name in names))
    return Checkpoint(tensors, frameworks.pop() if frameworks else "pytorch", files, {})


def is_plain_name(name: str) -> bool:
    """Whether `name` is a file's or folder's own name: no folders, no drive, no `..`."""
    plain = name not in ("", ".", "..") and "\0" not in name
    return plain and PurePosixPath(name).name == name and PureWindowsPath(name).name == name


def _refuse_impostors(path: Path) -> None:
    """An empty file, a web page or a Git LFS pointer in the place of weights."""
    with open(path, "rb") as file:
        start = file.read(256).lstrip()
    if not start:
        raise WeightsError("The weights file is empty.", where=path, remedy="fetch it again.")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            "This is a Git LFS pointer, not the weights themselves.",
            where=path,
            remedy="run `git lfs install && git lfs pull` in the folder, or fetch the file from its web page.",
        )
    if start[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(
            "This is a web page, not weights: a download went wrong.", where=path, remedy="fetch the file again."
        )
