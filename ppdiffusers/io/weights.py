"""Open the weights file of either framework as a mapping of names to lazy tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ppdiffusers.core.errors import ConfigError, SourceError, UnsafeFileError, WeightsError
from ppdiffusers.core.reading import read_json
from ppdiffusers.core.tensors import MOST_TENSORS, LazyTensor
from ppdiffusers.io.pdparams import read_pdparams, write_pdparams
from ppdiffusers.io.safetensors_file import read_safetensors, write_safetensors
from ppdiffusers.io.torch_pickle import read_torch_file
from ppdiffusers.io.weight_names import PADDLE_STEMS, SUFFIXES, weight_map_of

__all__ = ["Checkpoint", "open_weights", "write_pdparams", "write_safetensors"]

_LONGEST_NAME = 255  # bytes of a file name, on every file system
# `format` in a safetensors file's metadata -> the framework whose layout it has; paddlenlp writes "np"
_METADATA_FRAMEWORK = {"pt": "pytorch", "pd": "paddle", "np": "paddle"}


@dataclass(frozen=True)
class Checkpoint(Mapping[str, LazyTensor]):
    """The tensors of a checkpoint.

    Attributes:
        tensors: name -> lazy tensor.
        framework: the layout of the matrices of Linear layers: "pytorch" ([out, in]) or "paddle" ([in, out]).
        files: the files of the tensors; the index of a sharded checkpoint comes first.
        metadata: the metadata in the header of a safetensors file.
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


TRAINING_SUFFIXES = (".pkl", ".th")  # how some repositories name training checkpoints


def open_weights(path: str | os.PathLike, nested: bool = False) -> Checkpoint:
    """Open a weights file, or the index of a sharded checkpoint. Tensors are read when they are requested.

    Args:
        path: `.safetensors`, `.pdparams`, `.bin`, `.pt`, `.pth`, `.ckpt`, or `*.index.json`.
        nested: return all tensors of PyTorch's training checkpoints (`read_torch_file`), not only one state dict.

    Raises:
        SourceError: the file does not exist, or its format is unknown.
        WeightsError: the file is truncated, damaged, or does not contain weights; or shards are missing.
        UnsafeFileError: a pickle names code to run, or an index points outside its folder.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError("The weights file does not exist.", where=path, remedy="check the path.")
    return _open_index(path) if path.name.endswith(".json") else _open_file(path, nested)


def _open_file(path: Path, nested: bool = False) -> Checkpoint:
    known = (*SUFFIXES, *TRAINING_SUFFIXES) if nested else SUFFIXES
    if path.suffix not in known:
        raise SourceError("The format of the weights file is unknown.", where=path, expected=", ".join(known))
    _check_beginning(path)
    metadata: Mapping[str, str] = {}
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        named_paddle = path.name.startswith(PADDLE_STEMS)
        framework = _METADATA_FRAMEWORK.get(metadata.get("format", ""), "paddle" if named_paddle else "pytorch")
    elif path.suffix == ".pdparams":
        tensors, framework = read_pdparams(path), "paddle"
    else:
        tensors, framework = read_torch_file(path, nested), "pytorch"
    return Checkpoint(tensors, framework, (path,), metadata)


def _open_index(path: Path) -> Checkpoint:
    """Open a sharded checkpoint; `weight_map` maps tensors to files."""
    try:
        weight_map = weight_map_of(read_json(path))
    except ConfigError as error:
        raise WeightsError(
            "The index of a sharded checkpoint cannot be read.", where=path, problems=[error.what]
        ) from error
    if weight_map is None:
        raise WeightsError(
            "The index of a sharded checkpoint has no usable `weight_map`.",
            where=path,
            expected=f'{{"weight_map": {{name: file}}}} with at most {MOST_TENSORS} names',
        )
    names = sorted(set(weight_map.values()))
    outside = [name[:200] for name in names if not is_plain_name(name)]
    if outside:
        raise UnsafeFileError(
            "The index of a sharded checkpoint names files outside its folder.",
            where=path,
            problems=outside,
            expected="names of files next to the index",
        )
    other = [name for name in names if not name.endswith(SUFFIXES)]
    if other:
        raise WeightsError(
            "The index of a sharded checkpoint names files that are not weights.",
            where=path,
            problems=other,
            expected=f"names that end with {', '.join(SUFFIXES)}",
        )
    absent = [name for name in names if not (path.parent / name).is_file()]
    if absent:
        raise WeightsError(
            "Shards of the checkpoint are missing.", where=path, problems=absent, remedy="download the missing files."
        )
    shards = {name: _open_file(path.parent / name) for name in names}  # not indices
    lost = [f"{key} in {name}" for key, name in weight_map.items() if key not in shards[name]]
    frameworks = {shard.framework for shard in shards.values()}
    if lost or len(frameworks) > 1:
        mixed = ["the shards mix PyTorch's layout and Paddle's"] if len(frameworks) > 1 else []
        raise WeightsError("The shards do not match their index.", where=path, problems=[*lost, *mixed])
    tensors = {key: shards[name][key] for key, name in weight_map.items()}
    files = (path, *(path.parent / name for name in names))
    return Checkpoint(tensors, frameworks.pop() if frameworks else "pytorch", files, {})


def is_plain_name(name: str) -> bool:
    """Return whether `name` is the name of a file or folder, without parent folders, drive or `..`."""
    plain = name not in ("", ".", "..") and "\0" not in name and len(name.encode("utf-8", "replace")) <= _LONGEST_NAME
    return plain and PurePosixPath(name).name == name and PureWindowsPath(name).name == name


def _check_beginning(path: Path) -> None:
    """Raise for an empty file, a web page or a Git LFS pointer in place of weights."""
    with open(path, "rb") as file:
        start = file.read(256).lstrip()
    if not start:
        raise WeightsError("The weights file is empty.", where=path, remedy="download it again.")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            "This is a Git LFS pointer, not the weights themselves.",
            where=path,
            remedy="run `git lfs install && git lfs pull` in the folder, or download the file from its web page.",
        )
    if start[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(
            "This is a web page, not weights: a download went wrong.", where=path, remedy="download the file again."
        )
