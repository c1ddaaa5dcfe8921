"""Run both frameworks on the same random inputs and measure how far apart their outputs are, component by component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.extras import need
from ppdiffusers.core.torch_random import TorchGenerator
from ppdiffusers.io.pretrained import PretrainedMixin
from ppdiffusers.registry import Entry
from ppdiffusers.utils.dummy_inputs import as_tensors

WHY = "to verify a conversion"
# Largest relative distance that still counts as the same (docs/design.md): float32 on a CPU.
MODEL_TOLERANCE = 1e-4
STEP_TOLERANCE = 1e-5
EXACT = 0.0
PROMPTS = ("a red circle on a white background", "一个红色的圆形，白色背景", "Émile's 3 cats & 🐱!", "")


@dataclass(frozen=True)
class Distance:
    """The relative distance of one output from the reference, and its tolerance."""

    value: float
    tolerance: float


def need_frameworks() -> None:
    """Raise MissingDependencyError unless torch, diffusers and transformers can be imported."""
    for name in ("torch", "diffusers", "transformers"):
        need(name, WHY)


def verify_component(
    entry: Entry,
    torch_folder: Path,
    paddle_folder: Path,
    *,
    dtype: str | None = None,
    torch_variant: str | None = None,
    paddle_variant: str | None = None,
    reference: Callable[[], Any] | None = None,
) -> float:
    """Return the largest relative distance between the frameworks; the arguments are those of `measure_component`.

    Raises:
        ConversionError: outputs differ by more than their tolerance; the message lists all of them.
    """
    measured = measure_component(
        entry,
        torch_folder,
        paddle_folder,
        dtype=dtype,
        torch_variant=torch_variant,
        paddle_variant=paddle_variant,
        reference=reference,
    )
    return largest_distance(entry.name, measured)


def measure_component(
    entry: Entry,
    torch_folder: Path,
    paddle_folder: Path,
    *,
    dtype: str | None = None,
    torch_variant: str | None = None,
    paddle_variant: str | None = None,
    reference: Callable[[], Any] | None = None,
) -> dict[str, Distance]:
    """Run one component in both frameworks on the same random inputs and return the distance of each output.

    Both frameworks compute in float32; with `dtype` the weights of both are rounded to it first.

    Args:
        reference: load the network in PyTorch; by default it is loaded from `torch_folder`.

    Raises:
        MissingDependencyError: torch, diffusers or transformers is not installed.
    """
    need_frameworks()
    reference_class: Any = entry.original()
    our_class = entry.load()
    if issubclass(our_class, nn.Layer):
        load = reference or partial(
            reference_class.from_pretrained, torch_folder, variant=torch_variant, local_files_only=True
        )
        network = _load_paddle_model(our_class, paddle_folder, dtype, paddle_variant)
        return measure_model(_rounded(load(), dtype), network)
    theirs, ours = reference_class.from_pretrained(torch_folder), our_class.from_pretrained(paddle_folder)
    measure = {"tokenizer": _measure_tokenizer, "image_processor": _measure_image_processor}
    return measure.get(entry.kind, _measure_scheduler)(theirs, ours)


def measure_model(reference: Any, network: PretrainedMixin) -> dict[str, Distance]:
    """Run a PyTorch module and the Paddle network with the same weights on the network's dummy inputs."""
    torch = need("torch", WHY)
    inputs = network.dummy_inputs(np.random.default_rng(0))
    with torch.no_grad():
        expected = type(network).reference_outputs(reference, as_tensors(inputs, torch.from_numpy))
    with paddle.no_grad():
        found = type(network).reference_outputs(network, as_tensors(inputs, paddle.to_tensor))
    return distances(found, expected, MODEL_TOLERANCE)


def largest_distance(what: str, measured: Mapping[str, Distance]) -> float:
    """Return the largest of the distances; raise ConversionError listing those above their tolerance."""
    failed = {name: found for name, found in measured.items() if not found.value <= found.tolerance}
    if failed:
        raise ConversionError(
            f"The two frameworks disagree on {what}.",
            problems=[
                f"{name}: relative distance {found.value:.3g}, at most {found.tolerance:g} is allowed"
                for name, found in failed.items()
            ],
            remedy="please report it with the name of the source.",
        )
    return max(found.value for found in measured.values())


def distances(ours: Mapping[str, Any], reference: Mapping[str, Any], tolerance: float) -> dict[str, Distance]:
    """Measure the distance of each output; an output that only one side has is infinitely far."""
    found = {}
    for name in {**reference, **ours}:
        both = name in ours and name in reference
        value = relative_distance(_as_array(ours[name]), _as_array(reference[name])) if both else float("inf")
        found[name] = Distance(value, tolerance)
    return found


def relative_distance(ours: np.ndarray, reference: np.ndarray) -> float:
    """max |ours - reference| / max |reference|; infinite for different shapes or values that are not finite."""
    if ours.shape != reference.shape:
        return float("inf")
    ours, reference = ours.astype(np.float64), reference.astype(np.float64)
    difference = np.abs(ours - reference).max(initial=0.0)
    scale = np.abs(reference).max(initial=0.0)
    distance = difference / scale if scale > 0 else difference
    return float(distance) if np.isfinite(distance) else float("inf")


def _measure_tokenizer(reference: Any, ours: Any) -> dict[str, Distance]:
    """Compare token ids of prompts that are padded as pipelines pad them."""

    def encode(tokenizer: Any) -> dict[str, np.ndarray]:
        ids = tokenizer(list(PROMPTS), padding="max_length", truncation=True, max_length=32).input_ids
        return {"input_ids": np.asarray(ids)}

    return distances(encode(ours), encode(reference), EXACT)


def _measure_image_processor(reference: Any, ours: Any) -> dict[str, Distance]:
    """Compare the pixel values of a random image."""
    image = np.random.default_rng(0).integers(0, 256, (45, 61, 3)).astype(np.uint8)  # [H, W, C]

    def process(processor: Any) -> dict[str, np.ndarray]:
        return {"pixel_values": processor(image, return_tensors="np").pixel_values}

    return distances(process(ours), process(reference), STEP_TOLERANCE)


def _measure_scheduler(reference: Any, ours: Any) -> dict[str, Distance]:
    """Compare the outputs of one step with the same random numbers."""
    torch = need("torch", WHY)
    run = type(ours).reference_outputs
    # Without a generator diffusers draws from torch's global stream; ours gets a generator of the same stream.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = run(reference, np.random.default_rng(0), torch.from_numpy, {})
    found = run(ours, np.random.default_rng(0), paddle.to_tensor, {"generator": TorchGenerator(0)})
    return distances(found, expected, STEP_TOLERANCE)


def _rounded(model: Any, dtype: str | None) -> Any:
    """Return a PyTorch module in float32, with its weights rounded to `dtype`."""
    if dtype is not None:
        model = model.to(getattr(need("torch", WHY), dtype))
    return model.float().eval()


def _load_paddle_model(
    cls: type[PretrainedMixin], folder: Path, dtype: str | None, variant: str | None
) -> PretrainedMixin:
    model = cls.from_pretrained(folder, variant=variant, paddle_dtype="float32")  # in eval mode
    return model if dtype is None else model.to(dtype=dtype).to(dtype="float32")


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    detach: Callable[[], Any] | None = getattr(value, "detach", None)
    return np.asarray(value if detach is None else detach().cpu().numpy())
