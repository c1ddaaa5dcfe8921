"""Input checks. Each returns what it found wrong, as sentences; `refuse` raises them all in one error."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import OUTPUT_TYPES, is_valid_image_imagelist
from ppdiffusers.utils.torch_utils import as_generator


def refuse(pipeline: object, *findings: Iterable[str]) -> None:
    """Raise one InputError that lists all findings; nothing happens when there are none."""
    problems = [problem for some in findings for problem in some]
    if problems:
        raise InputError(
            f"{type(pipeline).__name__} was called with arguments it cannot work with.",
            problems=problems,
            remedy="correct what is listed; nothing was computed.",
        )


def is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_counts(**counts: Any) -> list[str]:
    """Each is a whole number of at least 1."""
    return [
        f"`{name}` must be a whole number of at least 1, not {value!r}"
        for name, value in counts.items()
        if not is_whole(value) or value < 1
    ]


def check_numbers(**values: Any) -> list[str]:
    """Each is a finite number."""
    return [
        f"`{name}` must be a finite number, not {value!r}"
        for name, value in values.items()
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not np.isfinite(value)
    ]


def check_size(height: Any, width: Any, multiple: int = 8) -> list[str]:
    """Pixels are positive multiples of `multiple`."""
    return [
        f"`{name}` must be a positive multiple of {multiple} (pixels), not {value!r}"
        for name, value in (("height", height), ("width", width))
        if not is_whole(value) or value <= 0 or value % multiple
    ]


def check_prompts(prompt: Any, prompt_embeds: Any, negative_prompt: Any, negative_prompt_embeds: Any) -> list[str]:
    """One of text and embeddings for each side, of usable types and of the same batch."""
    problems = []
    if prompt is not None and prompt_embeds is not None:
        problems.append("`prompt` and `prompt_embeds` are both given: choose one")
    if prompt is None and prompt_embeds is None:
        problems.append("neither `prompt` nor `prompt_embeds` is given: one is needed")
    if negative_prompt is not None and negative_prompt_embeds is not None:
        problems.append("`negative_prompt` and `negative_prompt_embeds` are both given: choose one")
    problems += check_texts("prompt", prompt) + check_texts("negative_prompt", negative_prompt)
    problems += _check_embeds("prompt_embeds", prompt_embeds)
    problems += _check_embeds("negative_prompt_embeds", negative_prompt_embeds)
    if problems:
        return problems

    if prompt_embeds is not None and negative_prompt_embeds is not None:
        if tuple(prompt_embeds.shape) != tuple(negative_prompt_embeds.shape):
            problems.append(
                f"`prompt_embeds` {tuple(prompt_embeds.shape)} and `negative_prompt_embeds` "
                f"{tuple(negative_prompt_embeds.shape)} must have the same shape"
            )
        return problems
    wanted = batch_of(prompt, prompt_embeds)
    if isinstance(negative_prompt, list) and len(negative_prompt) != wanted:
        problems.append(f"`negative_prompt` has {len(negative_prompt)} texts for {wanted} prompt(s)")
    if negative_prompt_embeds is not None and negative_prompt_embeds.shape[0] != wanted:
        problems.append(f"`negative_prompt_embeds` is for {negative_prompt_embeds.shape[0]} of {wanted} prompt(s)")
    return problems


def batch_of(prompt: str | list[str] | None, prompt_embeds: paddle.Tensor | None) -> int | None:
    """How many prompts there are; None if neither argument tells."""
    if isinstance(prompt, str):
        return 1
    if isinstance(prompt, list):
        return len(prompt)
    return prompt_embeds.shape[0] if isinstance(prompt_embeds, paddle.Tensor) and prompt_embeds.ndim else None


def check_texts(name: str, texts: Any) -> list[str]:
    """A text or a list of texts; None is nobody's business here."""
    if texts is None or isinstance(texts, str):
        return []
    if not isinstance(texts, list):
        return [f"`{name}` must be a text or a list of texts, not {type(texts).__name__}"]
    if not texts:
        return [f"`{name}` is an empty list"]
    return [
        f"`{name}[{n}]` must be a text, not {type(text).__name__}"
        for n, text in enumerate(texts)
        if not isinstance(text, str)
    ]


def _check_embeds(name: str, embeds: Any) -> list[str]:
    if embeds is None:
        return []
    if not isinstance(embeds, paddle.Tensor):
        return [f"`{name}` must be a Paddle tensor, not {type(embeds).__module__}.{type(embeds).__name__}"]
    if embeds.ndim != 3:
        return [f"`{name}` must be [batch, tokens, channels], not of shape {tuple(embeds.shape)}"]
    return [] if _finite(embeds) else [f"`{name}` has NaN or infinite values"]


def check_noise(
    latents: Any, generator: Any, prompts: int | None, each: Any, channels: int, size: tuple[Any, Any], factor: int
) -> list[str]:
    """Latents [prompts * each, channels, *size / factor] without NaN; a list of generators has one for each picture."""
    batch = prompts * each if prompts is not None and is_whole(each) else None
    shape = (batch, channels, *(side // factor if is_whole(side) else None for side in size))
    return check_latents(latents, shape) + check_generators_of(generator, prompts, each)


def check_latents(latents: Any, wanted: tuple[int | None, ...]) -> list[str]:
    """A tensor or array of the wanted shape (None: any) without NaN."""
    if latents is None:
        return []
    if not isinstance(latents, paddle.Tensor | np.ndarray):
        return [f"`latents` must be a Paddle tensor or numpy array, not {type(latents).__name__}"]
    shape, problems = tuple(latents.shape), []
    fits = len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))
    if not fits:
        asked = ", ".join("any" if size is None else str(size) for size in wanted)
        problems.append(f"`latents` must be of shape ({asked}), not {shape}")
    if not _finite(latents):
        problems.append("`latents` has NaN or infinite values")
    return problems


def check_generator(generator: Any, batch: int | None) -> list[str]:
    """Each is a generator, and a list has one for each picture."""
    problems = []
    if isinstance(generator, list | tuple) and batch is not None and len(generator) != batch:
        problems.append(f"`generator` has {len(generator)} generators for {batch} picture(s)")
    try:
        as_generator(generator)
    except InputError as error:
        problems.append(
            f"`generator` is, or holds, what is not a generator ({error.where}); expected: {error.expected}"
        )
    return problems


def check_generators_of(generator: Any, prompts: int | None, each: Any) -> list[str]:
    """A list of generators has one for each of `each` pictures of each prompt."""
    return check_generator(generator, prompts * each if prompts is not None and is_whole(each) else None)


def check_output_type(output_type: Any) -> list[str]:
    if output_type in OUTPUT_TYPES:
        return []
    return [f"`output_type` must be 'pil', 'np', 'pd' or 'latent', not {output_type!r}"]


def check_callbacks(
    on_step_end: Any, tensor_inputs: Any, allowed: Sequence[str], callback: Any, callback_steps: Any
) -> list[str]:
    """Callbacks can be called, and ask for tensors that exist."""
    problems = [
        f"`{name}` must be callable, not {type(value).__name__}"
        for name, value in (("callback_on_step_end", on_step_end), ("callback", callback))
        if value is not None and not callable(value)
    ]
    if callback_steps is not None:
        problems += check_counts(callback_steps=callback_steps)
    unknown = [name for name in tensor_inputs or () if name not in allowed]
    if unknown:
        problems.append(
            f"`callback_on_step_end_tensor_inputs` asks for {', '.join(map(repr, unknown))}; "
            f"there are {', '.join(allowed)}"
        )
    return problems


def check_no_ip_adapter(ip_adapter_image: Any, ip_adapter_image_embeds: Any) -> list[str]:
    """Nobody asks for an image prompt adapter: the pipeline holds none."""
    if ip_adapter_image is None and ip_adapter_image_embeds is None:
        return []
    return ["`ip_adapter_image` and `ip_adapter_image_embeds`: no IP-Adapter is loaded"]


def check_strength(strength: Any) -> list[str]:
    """A share of the steps: between 0 and 1."""
    problems = check_numbers(strength=strength)
    return problems or ([] if 0 <= strength <= 1 else [f"`strength` must lie between 0 and 1, not {strength!r}"])


def check_pictures(**pictures: Any) -> list[str]:
    """Each is a picture, a batch or a list of pictures."""
    problems = []
    for name, value in pictures.items():
        batches = isinstance(value, list) and value and all(getattr(one, "ndim", 0) == 4 for one in value)
        if value is None:
            problems.append(f"`{name}` is needed")
        elif not batches and not is_valid_image_imagelist(value):
            problems.append(
                f"`{name}` must be PIL pictures, numpy arrays or Paddle tensors of pictures, or a list of them, "
                f"not {type(value).__name__}"
            )
    return problems


def check_depth_map(depth_map: Any) -> list[str]:
    """A tensor [pictures, height, width] without NaN, or nothing."""
    if depth_map is None:
        return []
    if not isinstance(depth_map, paddle.Tensor) or depth_map.ndim != 3:
        found = tuple(depth_map.shape) if hasattr(depth_map, "shape") else type(depth_map).__name__
        return [f"`depth_map` must be a Paddle tensor [pictures, height, width], not {found}"]
    return [] if _finite(depth_map) else ["`depth_map` has NaN or infinite values"]


def check_channels(image: paddle.Tensor, wanted: int) -> list[str]:
    """Prepared pictures [N, C, H, W] have as many channels as the network has room for."""
    found = image.shape[1]
    return [] if found == wanted else [f"`image` has {found} channel(s), where the UNet takes {wanted}"]


def check_sampling(
    scheduler: Any,
    num_inference_steps: Any,
    num_images_per_prompt: Any,
    output_type: Any,
    timesteps: Any = None,
    sigmas: Any = None,
    **values: Any,
) -> list[str]:
    """What every run is told: its steps, how many pictures, in which form, and finite `values` such as eta."""
    return [
        *check_counts(num_images_per_prompt=num_images_per_prompt),
        *check_numbers(**values),
        *check_schedule(scheduler, num_inference_steps, timesteps, sigmas),
        *check_output_type(output_type),
    ]


def check_schedule(scheduler: Any, num_inference_steps: Any, timesteps: Any, sigmas: Any) -> list[str]:
    """One way of choosing the steps, which the scheduler knows."""
    if timesteps is not None and sigmas is not None:
        return ["`timesteps` and `sigmas` are both given: choose one"]
    known = inspect.signature(scheduler.set_timesteps).parameters
    for name, value in (("timesteps", timesteps), ("sigmas", sigmas)):
        if value is None:
            continue
        if name not in known:
            return [f"`{name}` cannot be chosen with {type(scheduler).__name__}"]
        return [] if len(value) > 0 else [f"`{name}` is empty"]
    return check_counts(num_inference_steps=num_inference_steps)


def _finite(values: paddle.Tensor | np.ndarray) -> bool:
    if isinstance(values, np.ndarray):
        return bool(np.isfinite(values).all())
    return bool(paddle.isfinite(values.astype("float32")).all())
