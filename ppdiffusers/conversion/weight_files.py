"""Which of the weights files in a component's folder a conversion reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers.core.errors import PPDiffusersError, WeightsError
from ppdiffusers.io.weights import Checkpoint, open_weights

# The order is the order of preference: files that cannot run code come first.
_STEMS = {
    "paddle": ("model_state", "diffusion_paddle_model", "model"),
    "pytorch": ("diffusion_pytorch_model", "model", "pytorch_model"),
}
_EXTENSIONS = {"paddle": ("safetensors", "pdparams"), "pytorch": ("safetensors", "bin", "pt", "ckpt", "pth")}
_LOOKS_LIKE_WEIGHTS = re.compile(
    r"\.(safetensors|bin|pt|pth|ckpt|pdparams|pdiparams|pdmodel|msgpack|onnx|onnx_data|h5|pb|gguf|xml)$"
    r"|\.(safetensors|bin|pdparams)\.index(\.[\w-]+)?\.json$"
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.\w+$")


@dataclass(frozen=True)
class WeightsFile:
    """A file that holds, or an index that names, all weights of a component.

    Attributes:
        path: the file or index.
        stem, extension: such as "diffusion_pytorch_model" and "safetensors".
        variant: such as "fp16", or None.
    """

    path: Path
    stem: str
    extension: str
    variant: str | None


def is_weights_file(path: Path) -> bool:
    """Whether the name is that of weights of any framework, or of an index of their shards."""
    return _LOOKS_LIKE_WEIGHTS.search(path.name) is not None


def parse_name(path: Path) -> WeightsFile | None:
    """Take a file name apart; None for shards and for what is no weights file that we read."""
    if _SHARD.search(path.name):
        return None
    stems = "|".join(sorted({stem for stems in _STEMS.values() for stem in stems}, key=len, reverse=True))
    extensions = "|".join(sorted({ext for exts in _EXTENSIONS.values() for ext in exts}))
    single = re.fullmatch(rf"({stems})(?:\.([\w-]+))?\.({extensions})", path.name)
    if single:
        return WeightsFile(path, stem=single[1], extension=single[3], variant=single[2])
    index = re.fullmatch(rf"({stems})(?:\.([\w-]+))?\.({extensions})\.index(?:\.([\w-]+))?\.json", path.name)
    if index:
        return WeightsFile(path, stem=index[1], extension=index[3], variant=index[2] or index[4])
    return None


def find_weights(folder: Path, framework: str, variant: str | None) -> Checkpoint:
    """Open the weights of `framework` ("pytorch" or "paddle") in a component's folder.

    Raises:
        WeightsError: there are none, or none of this variant: the message says which there are.
    """
    candidates = _candidates(folder, framework)
    fitting = [found for found in candidates if found.variant == variant]
    if fitting:
        return open_weights(fitting[0].path)
    if candidates:
        wanted = "the plain weights (no variant)" if variant is None else f"variant {variant!r}"
        variants = sorted({found.variant or "(none)" for found in candidates})
        remedy = [f"--variant {name}" for name in variants if name != "(none)"] or ["leave --variant out"]
        raise WeightsError(
            f"The folder does not hold {wanted}; it has these variants: {', '.join(variants)}.",
            where=folder,
            problems=[found.path.name for found in candidates],
            remedy=f"choose one of them: {' or '.join(remedy)}",
        )
    others = sorted(path.name for path in folder.iterdir() if is_weights_file(path)) if folder.is_dir() else []
    raise WeightsError(
        f"The folder holds no {'PyTorch' if framework == 'pytorch' else 'Paddle'} weights.",
        where=folder,
        problems=[f"found: {name}" for name in others],
        expected=" or ".join(f"{stem}.{_EXTENSIONS[framework][0]}" for stem in _STEMS[framework][:2]),
        remedy=(
            "convert in the other direction, or check that the folder is complete"
            if others
            else "fetch the folder again: it is not complete"
        ),
    )


def frameworks_in(folders: Iterable[Path]) -> set[str]:
    """The frameworks ("pytorch", "paddle") whose weights lie in any of the folders."""
    return {name for folder in folders for name in ("pytorch", "paddle") if _candidates(folder, name)}


def _candidates(folder: Path, framework: str) -> list[WeightsFile]:
    if not folder.is_dir():
        return []
    stems, extensions = _STEMS[framework], _EXTENSIONS[framework]
    parsed = [parse_name(path) for path in sorted(folder.iterdir()) if path.is_file()]
    fitting = [p for p in parsed if p is not None and p.stem in stems and p.extension in extensions]
    fitting = [p for p in fitting if not _is_shared_name(p) or _framework_of(p.path) == framework]
    return sorted(fitting, key=lambda p: (extensions.index(p.extension), stems.index(p.stem), p.path.name))


def _is_shared_name(found: WeightsFile) -> bool:
    """`model.safetensors` is written by both frameworks: its metadata says which one."""
    return found.stem == "model" and found.extension == "safetensors"


def _framework_of(path: Path) -> str:
    try:
        return open_weights(path).framework
    except PPDiffusersError:
        return "pytorch"  # as its name says; whoever opens it to read it is told what is wrong
