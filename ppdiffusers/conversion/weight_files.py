"""Choice of the weights file that a conversion reads in a component's folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers.core.errors import PPDiffusersError, WeightsError
from ppdiffusers.io.weights import Checkpoint, open_weights

# In order of preference: files that cannot run code come first.
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
    """A file with all weights of a component, or the index of its shards.

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
    """Whether the name is that of a weights file of any framework, or of an index of shards."""
    return _LOOKS_LIKE_WEIGHTS.search(path.name) is not None


def parse_name(path: Path) -> WeightsFile | None:
    """Parse a file name; None for shards and for files that cannot be read as weights."""
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
        WeightsError: there are no weights, or none of this variant; the message lists what was found.
    """
    candidates = _candidates(folder, framework)
    fitting = [found for found in candidates if found.variant == variant]
    if fitting:
        return open_weights(fitting[0].path)
    if candidates:
        wanted = "weights without a variant" if variant is None else f"variant {variant!r}"
        variants = sorted({found.variant or "(none)" for found in candidates})
        remedy = [f"--variant {name}" for name in variants if name != "(none)"] or ["omit --variant"]
        raise WeightsError(
            f"The folder does not contain {wanted}; it contains these variants: {', '.join(variants)}.",
            where=folder,
            problems=[found.path.name for found in candidates],
            remedy=f"choose one of them: {' or '.join(remedy)}",
        )
    others = sorted(path.name for path in folder.iterdir() if is_weights_file(path)) if folder.is_dir() else []
    raise WeightsError(
        f"The folder does not contain {'PyTorch' if framework == 'pytorch' else 'Paddle'} weights.",
        where=folder,
        problems=[f"found: {name}" for name in others],
        expected=" or ".join(f"{stem}.{_EXTENSIONS[framework][0]}" for stem in _STEMS[framework][:2]),
        remedy=(
            "convert in the other direction, or check that the folder is complete"
            if others
            else "the folder is incomplete: download it again"
        ),
    )


def frameworks_in(folders: Iterable[Path]) -> set[str]:
    """Return the frameworks ("pytorch", "paddle") whose weights are in any of the folders."""
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
    """Whether both frameworks write files of this name (`model.safetensors`): its metadata names the framework."""
    return found.stem == "model" and found.extension == "safetensors"


def _framework_of(path: Path) -> str:
    try:
        return open_weights(path).framework
    except PPDiffusersError:
        return "pytorch"  # by its name; opening it to read the weights raises the error
