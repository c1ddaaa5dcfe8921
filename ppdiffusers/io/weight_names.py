"""File names of weights: stems, variants, shards and indices, and the one order in which they are preferred."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import MOST_TENSORS

# Our own files; the first ppdiffusers wrote "diffusion_paddle_model".
OUR_STEM = "model_state"
PADDLE_STEMS = (OUR_STEM, "diffusion_paddle_model")
# Library -> what it calls its weights; a folder has files of one of these stems.
TORCH_STEMS = {"diffusers": ("diffusion_pytorch_model",), "transformers": ("model", "pytorch_model")}
ALL_TORCH_STEMS = tuple(stem for stems in TORCH_STEMS.values() for stem in stems)

TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
SUFFIXES = (".safetensors", ".pdparams", *TORCH_SUFFIXES)

_NAME = re.compile(
    rf"(?P<stem>{'|'.join((*PADDLE_STEMS, *ALL_TORCH_STEMS))})"
    r"(?:\.(?P<variant>[\w-]+))?"
    rf"(?P<suffix>{'|'.join(map(re.escape, SUFFIXES))})"
    r"(?P<index>\.index(?:\.(?P<index_variant>[\w-]+))?\.json)?"
)
_VARIANT = re.compile(r"[\w.-]{1,64}")
_SHARD = r"-\d{5}-of-\d{5}"
_LOOKS_LIKE_WEIGHTS = re.compile(
    r"\.(safetensors|bin|pt|pth|ckpt|pdparams|pdiparams|pdmodel|msgpack|onnx|onnx_data|h5|pb|gguf|xml)$"
    r"|\.(safetensors|bin|pdparams)\.index(\.[\w-]+)?\.json$"
)


@dataclass(frozen=True)
class WeightsName:
    """The name of a file with all weights of a network, or of an index of its shards.

    Attributes:
        name: the file name.
        stem, suffix: such as "diffusion_pytorch_model" and ".safetensors".
        variant: such as "fp16", or None.
    """

    name: str
    stem: str
    suffix: str
    variant: str | None

    @property
    def framework(self) -> str | None:
        """The framework that writes such names, or None: both write "model.safetensors"."""
        if self.stem in PADDLE_STEMS or self.suffix == ".pdparams":
            return "paddle"
        return None if self.stem == "model" and self.suffix == ".safetensors" else "pytorch"


def candidate_names(
    stems: Iterable[str], variant: str | None = None, use_safetensors: bool | None = None, rare: bool = False
) -> list[str]:
    """List file names in the order in which a folder is searched for them.

    Paddle's files come before PyTorch's, safetensors before pickles, and a whole file before its shards.

    Args:
        stems: file names, without suffixes, of PyTorch's weights.
        variant: such as "fp16": only files of this variant.
        use_safetensors: True: only `.safetensors`; False: only pickles; None: both.
        rare: names that `from_pretrained` does not look for, and conversion does, come last.
    """
    stems = tuple(stems)
    groups = [(PADDLE_STEMS, ".safetensors"), (PADDLE_STEMS, ".pdparams"), (stems, ".safetensors"), (stems, ".bin")]
    if rare:
        groups += [(("model",), ".pdparams"), *((stems, suffix) for suffix in (".pt", ".ckpt", ".pth"))]
    names: list[str] = []
    for group, suffix in groups:
        if use_safetensors is not None and use_safetensors != (suffix == ".safetensors"):
            continue
        for stem in group:
            names += [weights_name(stem, suffix, variant), *index_names(stem, suffix, variant)]
    return names


def download_order(names: Iterable[str]) -> list[str]:
    """Put safetensors first and keep the order otherwise: pickles are downloaded only where a hub has nothing else."""
    return sorted(names, key=lambda name: ".safetensors" not in name)


def weights_in(folder: Path, stems: Iterable[str] = ALL_TORCH_STEMS) -> list[WeightsName]:
    """List the weights files and indices of all variants in a folder, in the order of `candidate_names`."""
    if not folder.is_dir():
        return []
    parsed = {path.name: parse_name(path.name) for path in sorted(folder.iterdir()) if path.is_file()}
    found = {name: weights for name, weights in parsed.items() if weights is not None}
    variants = sorted({weights.variant or "" for weights in found.values()})
    names = [name for variant in variants for name in candidate_names(stems, variant or None, rare=True)]
    return [found[name] for name in names if name in found]


def parse_name(name: str) -> WeightsName | None:
    """Split a file name into its parts; None for shards and for everything that is not a network's weights."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return WeightsName(name, found["stem"], found["suffix"], found["variant"] or found["index_variant"])


def is_weights_file(name: str) -> bool:
    """Return whether a name is that of weights of any framework, or of an index of their shards."""
    return _LOOKS_LIKE_WEIGHTS.search(name) is not None


# -- names to write -----------------------------------------------------------------------------------------------


def weights_name(stem: str, suffix: str, variant: str | None = None) -> str:
    """Return the name of a file with all weights, such as "model.fp16.safetensors".

    Raises:
        InputError: the variant cannot be part of a file name.
    """
    if variant and (not isinstance(variant, str) or not _VARIANT.fullmatch(variant)):
        raise InputError(
            f"variant={variant!r:.200} cannot be part of a file name.", expected='up to 64 letters, such as "fp16"'
        )
    return f"{stem}.{variant}{suffix}" if variant else f"{stem}{suffix}"


def index_names(stem: str, suffix: str, variant: str | None = None) -> list[str]:
    """Return the names of the file that maps tensors to shards; the first is the one that we write."""
    if not variant:
        return [f"{stem}{suffix}.index.json"]
    return [f"{stem}{suffix}.index.{variant}.json", f"{stem}.{variant}{suffix}.index.json"]


def shard_names(stem: str, suffix: str, variant: str | None, count: int) -> list[str]:
    """Return the names of all shards; one shard is a whole file."""
    if count == 1:
        return [weights_name(stem, suffix, variant)]
    start = weights_name(stem, "", variant)
    return [f"{start}-{number:05d}-of-{count:05d}{suffix}" for number in range(1, count + 1)]


def is_shard(name: str, stem: str, suffix: str, variant: str | None) -> bool:
    """Return whether `name` is one of `shard_names`, whatever their count."""
    return re.fullmatch(re.escape(weights_name(stem, "", variant)) + _SHARD + re.escape(suffix), name) is not None


def weight_map_of(index: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the `weight_map` of an index, tensor -> file; None if it has none, a wrong one or a huge one."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or len(weight_map) > MOST_TENSORS:
        return None
    if not all(isinstance(name, str) for name in weight_map.values()):
        return None
    return weight_map


def is_safetensors_compatible(
    filenames: Iterable[str],
    passed_components: Iterable[str] | None = None,
    folder_names: Container[str] | None = None,
    variant: str | None = None,
) -> bool:
    """Return whether each folder among the names of a pipeline's weights files has a safetensors file.

    Args:
        filenames: paths of files, such as "unet/diffusion_pytorch_model.safetensors".
        passed_components: names of folders that are not needed.
        folder_names: the folders that are needed; by default all.
        variant: such as "fp16"; a folder without files of it counts with those of no variant.
    """
    folders: dict[str, list[str]] = {}
    others = []
    for filename in filenames:
        *folder, name = filename.split("/")
        if len(folder) != 1:
            others.append(name)
        elif folder_names is None or folder[0] in folder_names:
            folders.setdefault(folder[0], []).append(name)
    for component in passed_components or ():
        folders.pop(component, None)
    return all(_has_safetensors(names, variant) for names in folders.values() or [others])


def _has_safetensors(names: Iterable[str], variant: str | None) -> bool:
    """Return whether the weights of a variant, or those of no variant if there are none, have a safetensors file."""
    stems = "|".join((*PADDLE_STEMS, *ALL_TORCH_STEMS))
    for part in ([rf"\.{re.escape(variant)}"] if variant else []) + [""]:
        found = [name for name in names if re.fullmatch(rf"(?:{stems}){part}(?:{_SHARD})?\.\w+", name)]
        if found:
            return any(name.endswith(".safetensors") for name in found)
    return False
