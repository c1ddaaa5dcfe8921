"""Run both frameworks on the same random inputs and measure how far apart they are, component by component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppdiffusers.conversion import probes
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.extras import need
from ppdiffusers.core.torch_random import TorchGenerator

WHY = "to verify a conversion"
# Largest relative distance that still counts as the same (docs/design.md): float32 on a CPU.
MODEL_TOLERANCE = 1e-4
STEP_TOLERANCE = 1e-5
EXACT = 0.0
# Where diffusers keeps the classes that belong to one pipeline.
_PIPELINE_MODULES = {
    "LDMBertModel": "latent_diffusion.pipeline_latent_diffusion",
    "LearnedClassifierFreeSamplingEmbeddings": "deprecated.vq_diffusion.pipeline_vq_diffusion",
    "StableDiffusionSafetyChecker": "stable_diffusion.safety_checker",
    "UNetFlatConditionModel": "deprecated.versatile_diffusion.modeling_text_unet",
    "SafeStableDiffusionSafetyChecker": "stable_diffusion_safe.safety_checker",
    "RobertaSeriesModelWithTransformation": "deprecated.alt_diffusion.modeling_roberta_series",
}


@dataclass(frozen=True)
class Distance:
    """How far one output is from the reference's, relatively, and how far it may be."""

    value: float
    tolerance: float


def need_frameworks() -> None:
    """Raise MissingDependencyError unless torch, diffusers and transformers can be imported."""
    for name in ("torch", "diffusers", "transformers"):
        need(name, WHY)


def verify_component(class_name: str, paddle_class: type, torch_folder: Path, paddle_folder: Path, **how: Any) -> float:
    """The largest relative distance between the frameworks; see `measure_component` for the arguments.

    Raises:
        ConversionError: outputs are further apart than the tolerance; every one that is is listed.
    """
    return judge(class_name, measure_component(class_name, paddle_class, torch_folder, paddle_folder, **how))


def measure_component(
    class_name: str,
    paddle_class: type,
    torch_folder: Path,
    paddle_folder: Path,
    *,
    dtype: str | None = None,
    torch_variant: str | None = None,
    paddle_variant: str | None = None,
) -> dict[str, Distance]:
    """Run one component in both frameworks on the same random inputs; its distance for each output.

    Both sides compute in float32; with `dtype` the weights of both are rounded to it first.

    Raises:
        MissingDependencyError: torch, diffusers or transformers is not installed.
    """
    reference_class = _reference_class(class_name)
    if class_name in probes.MODELS:
        return _measure_model(
            class_name,
            _torch_model(reference_class, torch_folder, dtype, torch_variant),
            _paddle_model(paddle_class, paddle_folder, dtype, paddle_variant),
        )
    theirs, ours = reference_class.from_pretrained(torch_folder), paddle_class.from_pretrained(paddle_folder)
    if class_name in probes.TOKENIZERS:
        return distances(probes.tokenizer(ours), probes.tokenizer(theirs), EXACT)
    if class_name in probes.IMAGE_PROCESSORS:
        found, reference = (probes.image_processor(made, np.random.default_rng(0)) for made in (ours, theirs))
        return distances(found, reference, STEP_TOLERANCE)
    return _measure_scheduler(theirs, ours)


def judge(what: str, measured: Mapping[str, Distance]) -> float:
    """The largest of the distances; ConversionError that lists those above their tolerance."""
    failed = {name: found for name, found in measured.items() if not found.value <= found.tolerance}
    if failed:
        raise ConversionError(
            f"The two frameworks disagree on {what}.",
            problems=[
                f"{name}: relative distance {found.value:.3g}, at most {found.tolerance:g} is allowed"
                for name, found in failed.items()
            ],
            remedy="please report it with the source's name.",
        )
    return max(found.value for found in measured.values())


def distances(ours: Mapping[str, Any], theirs: Mapping[str, Any], tolerance: float) -> dict[str, Distance]:
    """The distance of every output, by name."""
    return {
        name: Distance(relative_distance(_array(ours[name]), _array(reference)), tolerance)
        for name, reference in theirs.items()
    }


def relative_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs| / max |theirs|; infinite for different shapes or values that are not finite."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    difference = np.abs(ours - theirs).max(initial=0.0)
    scale = np.abs(theirs).max(initial=0.0)
    distance = difference / scale if scale > 0 else difference
    return float(distance) if np.isfinite(distance) else float("inf")


def _measure_model(class_name: str, theirs: Any, ours: Any) -> dict[str, Distance]:
    torch = need("torch", WHY)
    probe, config = probes.MODELS[class_name], _as_dict(theirs.config)
    with torch.no_grad():
        reference = probe(theirs, config, np.random.default_rng(0), torch.from_numpy)
    with paddle.no_grad():
        found = probe(ours, config, np.random.default_rng(0), paddle.to_tensor)
    return distances(found, reference, MODEL_TOLERANCE)


def _measure_scheduler(theirs: Any, ours: Any) -> dict[str, Distance]:
    torch = need("torch", WHY)
    config, probe = _as_dict(theirs.config), probes.SCHEDULERS.get(type(ours).__name__, probes.scheduler)
    # Without a generator diffusers draws from torch's global stream; ours is handed the same stream, same seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reference = probe(theirs, config, np.random.default_rng(0), torch.from_numpy, {})
    noise = {"generator": TorchGenerator(0)}
    found = probe(ours, config, np.random.default_rng(0), paddle.to_tensor, noise)
    return distances(found, reference, STEP_TOLERANCE)


def _torch_model(reference_class: type, folder: Path, dtype: str | None, variant: str | None) -> Any:
    torch = need("torch", WHY)
    model = reference_class.from_pretrained(folder, variant=variant, local_files_only=True)
    if dtype is not None:
        model = model.to(getattr(torch, dtype))
    return model.float().eval()


def _paddle_model(paddle_class: type, folder: Path, dtype: str | None, variant: str | None) -> Any:
    model = paddle_class.from_pretrained(folder, variant=variant, paddle_dtype="float32")
    if dtype is not None:
        model = model.to(dtype=dtype).to(dtype="float32")
    model.eval()
    return model


def _reference_class(class_name: str) -> type:
    for library in ("diffusers", "transformers", "diffusers.schedulers.deprecated"):
        module = need(library, WHY)
        if hasattr(module, class_name):
            return getattr(module, class_name)
    return getattr(need(f"diffusers.pipelines.{_PIPELINE_MODULES[class_name]}", WHY), class_name)


def _as_dict(config: Any) -> dict[str, Any]:
    return dict(config) if isinstance(config, Mapping) else config.to_dict()


def _array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    detach: Callable[[], Any] | None = getattr(value, "detach", None)
    return np.asarray(value if detach is None else detach().cpu().numpy())
