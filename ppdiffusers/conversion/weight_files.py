"""Which of the weights files in a component's folder a conversion reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ppdiffusers.core.errors import PPDiffusersError, WeightsError
from ppdiffusers.io.weight_names import ALL_TORCH_STEMS, PADDLE_STEMS, WeightsName, is_weights_file, weights_in
from ppdiffusers.io.weights import Checkpoint, open_weights

_STEMS = {"paddle": PADDLE_STEMS, "pytorch": ALL_TORCH_STEMS}


def find_weights(folder: Path, framework: str, variant: str | None) -> Checkpoint:
    """Open the weights of `framework` ("pytorch" or "paddle") in a component's folder.

    Raises:
        WeightsError: the folder has none, or none of this variant; the message lists the variants.
    """
    candidates = _candidates(folder, framework)
    fitting = [found for found in candidates if found.variant == variant]
    if fitting:
        return open_weights(folder / fitting[0].name)
    if candidates:
        wanted = "weights without a variant" if variant is None else f"weights of the variant {variant!r}"
        variants = sorted({found.variant or "(none)" for found in candidates})
        remedy = [f"--variant {name}" for name in variants if name != "(none)"] or ["omit --variant"]
        raise WeightsError(
            f"The folder has no {wanted}; it has these variants: {', '.join(variants)}.",
            where=folder,
            problems=[found.name for found in candidates],
            remedy=f"choose one of them: {' or '.join(remedy)}",
        )
    others = sorted(path.name for path in folder.iterdir() if is_weights_file(path.name)) if folder.is_dir() else []
    raise WeightsError(
        f"The folder has no {'PyTorch' if framework == 'pytorch' else 'Paddle'} weights.",
        where=folder,
        problems=[f"found: {name}" for name in others],
        expected=" or ".join(f"{stem}.safetensors" for stem in _STEMS[framework][:2]),
        remedy=(
            "convert in the other direction, or check that the folder is complete"
            if others
            else "download the folder again: it is not complete"
        ),
    )


def frameworks_in(folders: Iterable[Path]) -> set[str]:
    """Return the frameworks ("pytorch", "paddle") that have weights in any of the folders."""
    return {name for folder in folders for name in ("pytorch", "paddle") if _candidates(folder, name)}


def _candidates(folder: Path, framework: str) -> list[WeightsName]:
    found = weights_in(folder)
    return [weights for weights in found if (weights.framework or _framework_of(folder / weights.name)) == framework]


def _framework_of(path: Path) -> str:
    try:
        return open_weights(path).framework
    except PPDiffusersError:
        return "pytorch"  # as its name suggests; opening it to read it raises the error
