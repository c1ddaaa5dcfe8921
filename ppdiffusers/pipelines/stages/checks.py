"""Checks of a call's arguments. Each returns a list of problems; `raise_problems` reports all of them in one error."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import OUTPUT_TYPES, is_valid_image_imagelist
from ppdiffusers.utils.torch_utils import checked_generator

if TYPE_CHECKING:
    from ppdiffusers.schedulers.common.types import HasTimesteps


def raise_problems(pipeline: object, *problems: Iterable[str]) -> None:
    """Raise one InputError that lists all problems, if there are any."""
    listed = [problem for some in problems for problem in some]
    if listed:
        raise InputError(
            f"{type(pipeline).__name__} was called with invalid arguments.",
            problems=listed,
            remedy="correct the arguments listed above; nothing was computed.",
        )


def problems_of(check: Callable[..., None], *args: Any, **kwargs: Any) -> list[str]:
    """Run a check that raises, such as `pipeline.check_inputs`, and return the problems of its InputError."""
    try:
        check(*args, **kwargs)
    except InputError as error:
        return list(error.problems) or [error.what]
    return []


def is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_components(components: Mapping[str, Any], *names: str) -> list[str]:
    """Components without which the call cannot run are not None."""
    return [
        f"the pipeline has no `{name}`: load the pipeline with this component, or pass it to the constructor"
        for name in names
        if components.get(name) is None
    ]


def check_counts(**counts: Any) -> list[str]:
    """Each is an integer >= 1."""
    return [
        f"`{name}` must be a whole number of at least 1, not {value!r}"
        for name, value in counts.items()
        if not is_integer(value) or value < 1
    ]


def check_numbers(**values: Any) -> list[str]:
    """Each is a finite number."""
    return [
        f"`{name}` must be a finite number, not {value!r}"
        for name, value in values.items()
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value)
    ]


def check_size(*, height: Any, width: Any, multiple: int = 8) -> list[str]:
    """Height and width in pixels are positive multiples of `multiple`."""
    return [
        f"`{name}` must be a positive multiple of {multiple} (pixels), not {value!r}"
        for name, value in (("height", height), ("width", width))
        if not is_integer(value) or value <= 0 or value % multiple
    ]


def check_prompts(
    *,
    prompt: Any,
    negative_prompt: Any = None,
    prompt_embeds: Any = None,
    negative_prompt_embeds: Any = None,
) -> list[str]:
    """Either strings or embeddings are given for each of prompt and negative prompt, with matching batch sizes."""
    problems = []
    if prompt is not None and prompt_embeds is not None:
        problems.append("`prompt` and `prompt_embeds` are both given: pass one of them")
    if prompt is None and prompt_embeds is None:
        problems.append("neither `prompt` nor `prompt_embeds` is given: pass one of them")
    if negative_prompt is not None and negative_prompt_embeds is not None:
        problems.append("`negative_prompt` and `negative_prompt_embeds` are both given: pass one of them")
    problems += check_strings("prompt", prompt) + check_strings("negative_prompt", negative_prompt)
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
    expected = num_prompts(prompt, prompt_embeds)
    if isinstance(negative_prompt, list) and len(negative_prompt) != expected:
        problems.append(f"`negative_prompt` has {len(negative_prompt)} entries for {expected} prompt(s)")
    if negative_prompt_embeds is not None and negative_prompt_embeds.shape[0] != expected:
        problems.append(f"`negative_prompt_embeds` has batch size {negative_prompt_embeds.shape[0]}, not {expected}")
    return problems


def check_pooled_prompts(
    *,
    prompt: Any,
    prompt_2: Any = None,
    negative_prompt_2: Any = None,
    prompt_embeds: Any = None,
    negative_prompt_embeds: Any = None,
    pooled_prompt_embeds: Any = None,
    negative_pooled_prompt_embeds: Any = None,
) -> list[str]:
    """Prompts of a second text encoder match the first ones, and embeddings come with pooled embeddings."""
    problems, expected = [], num_prompts(prompt, prompt_embeds)
    for name, strings, embeds in (
        ("prompt", prompt_2, prompt_embeds),
        ("negative_prompt", negative_prompt_2, negative_prompt_embeds),
    ):
        problems += check_strings(f"{name}_2", strings)
        if strings is not None and embeds is not None:
            problems.append(f"`{name}_2` and `{name}_embeds` are both given: pass one of them")
        if isinstance(strings, list) and expected is not None and len(strings) not in (0, expected):
            problems.append(f"`{name}_2` has {len(strings)} entries for {expected} prompt(s)")
    for name, embeds, pooled in (
        ("prompt_embeds", prompt_embeds, pooled_prompt_embeds),
        ("negative_prompt_embeds", negative_prompt_embeds, negative_pooled_prompt_embeds),
    ):
        pooled_name = name.replace("prompt", "pooled_prompt")
        problems += _check_embeds(pooled_name, pooled, ("batch", "channels"))
        if embeds is not None and pooled is None:
            problems.append(f"`{name}` requires `{pooled_name}`, of the same text encoders")
        elif isinstance(pooled, paddle.Tensor) and pooled.ndim and pooled.shape[0] != expected and expected is not None:
            problems.append(f"`{pooled_name}` has batch size {pooled.shape[0]}, not {expected}")
    return problems


def check_denoising_range(*, denoising_start: Any = None, denoising_end: Any = None) -> list[str]:
    """Fractions of the noise schedule: 0 <= denoising_start < denoising_end <= 1, or None."""
    given = {"denoising_start": denoising_start, "denoising_end": denoising_end}
    problems = check_numbers(**{name: value for name, value in given.items() if value is not None})
    if problems:
        return problems
    if denoising_start is not None and not 0 <= denoising_start < 1:
        problems.append(f"`denoising_start` must be at least 0 and less than 1, not {denoising_start!r}")
    if denoising_end is not None and not 0 < denoising_end <= 1:
        problems.append(f"`denoising_end` must be more than 0 and at most 1, not {denoising_end!r}")
    if denoising_start is not None and denoising_end is not None and denoising_start >= denoising_end:
        problems.append(f"`denoising_start` {denoising_start!r} must be less than `denoising_end` {denoising_end!r}")
    return problems


def check_pairs(**pairs: Any) -> list[str]:
    """Each is a pair of finite numbers, or None."""
    return [
        f"`{name}` must be a pair of numbers (height, width), not {value!r}"
        for name, value in pairs.items()
        if value is not None
        and not (isinstance(value, tuple | list) and len(value) == 2 and not check_numbers(a=value[0], b=value[1]))
    ]


def num_prompts(prompt: str | list[str] | None, prompt_embeds: paddle.Tensor | None = None) -> int | None:
    """The number of prompts; None if neither argument is valid."""
    if isinstance(prompt, str):
        return 1
    if isinstance(prompt, list):
        return len(prompt)
    return prompt_embeds.shape[0] if isinstance(prompt_embeds, paddle.Tensor) and prompt_embeds.ndim else None


def check_strings(name: str, strings: Any) -> list[str]:
    """A string, a list of strings, or None."""
    if strings is None or isinstance(strings, str):
        return []
    if not isinstance(strings, list):
        return [f"`{name}` must be a string or a list of strings, not {type(strings).__name__}"]
    if not strings:
        return [f"`{name}` is an empty list"]
    return [
        f"`{name}[{n}]` must be a string, not {type(string).__name__}"
        for n, string in enumerate(strings)
        if not isinstance(string, str)
    ]


def _check_embeds(name: str, embeds: Any, axes: tuple[str, ...] = ("batch", "tokens", "channels")) -> list[str]:
    if embeds is None:
        return []
    if not isinstance(embeds, paddle.Tensor):
        return [f"`{name}` must be a Paddle tensor, not {type(embeds).__module__}.{type(embeds).__name__}"]
    if embeds.ndim != len(axes):
        return [f"`{name}` must be [{', '.join(axes)}], not of shape {tuple(embeds.shape)}"]
    return [] if all_finite(embeds) else [f"`{name}` contains NaN or infinite values"]


def check_noise(
    *,
    latents: Any,
    generator: Any,
    prompts: int | None,
    num_images_per_prompt: Any,
    channels: int,
    height: Any,
    width: Any,
    scale_factor: int,
) -> list[str]:
    """Latents are [B, channels, height / scale_factor, width / scale_factor]; a list of generators has B entries.

    Args:
        prompts: number of prompts; B is prompts * num_images_per_prompt.
    """
    batch = _batch(prompts, num_images_per_prompt)
    shape = (batch, channels, *(size // scale_factor if is_integer(size) else None for size in (height, width)))
    return check_latents(latents, shape) + check_generator(generator, batch)


def check_latents(latents: Any, shape: Sequence[int | None]) -> list[str]:
    """A finite tensor or array of this shape, in which None allows any size; or None."""
    if latents is None:
        return []
    if not isinstance(latents, paddle.Tensor | np.ndarray):
        return [f"`latents` must be a Paddle tensor or numpy array, not {type(latents).__name__}"]
    found, problems = tuple(latents.shape), []
    fits = len(found) == len(shape) and all(s in (None, f) for f, s in zip(found, shape, strict=True))
    if not fits:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        problems.append(f"`latents` must be of shape ({expected}), not {found}")
    if not all_finite(latents):
        problems.append("`latents` contains NaN or infinite values")
    return problems


def check_generator(generator: Any, batch: int | None) -> list[str]:
    """Each is a generator or seed, and a list has one entry for each image."""
    problems = []
    if isinstance(generator, list | tuple) and batch is not None and len(generator) != batch:
        problems.append(f"`generator` has {len(generator)} generators for {batch} image(s)")
    try:
        checked_generator(generator)
    except InputError as error:
        problems.append(f"`generator` is not a generator ({error.where}); expected: {error.expected}")
    return problems


def check_generators_of(generator: Any, prompts: int | None, num_images_per_prompt: Any) -> list[str]:
    """A list of generators has one entry for each image of each prompt."""
    return check_generator(generator, _batch(prompts, num_images_per_prompt))


def _batch(prompts: int | None, num_images_per_prompt: Any) -> int | None:
    known = prompts is not None and is_integer(num_images_per_prompt)
    return prompts * num_images_per_prompt if known else None


def check_output_type(output_type: Any) -> list[str]:
    if output_type in OUTPUT_TYPES:
        return []
    return [f"`output_type` must be 'pil', 'np', 'pd' or 'latent', not {output_type!r}"]


def check_callbacks(
    *,
    callback_on_step_end: Any = None,
    tensor_inputs: Any = None,
    allowed: Sequence[str] = (),
    callback: Any = None,
    callback_steps: Any = None,
) -> list[str]:
    """Callbacks are callable, and the tensors that they request exist (`allowed`)."""
    problems = [
        f"`{name}` must be callable, not {type(value).__name__}"
        for name, value in (("callback_on_step_end", callback_on_step_end), ("callback", callback))
        if value is not None and not callable(value)
    ]
    if callback_steps is not None:
        problems += check_counts(callback_steps=callback_steps)
    unknown = [name for name in tensor_inputs or () if name not in allowed]
    if unknown:
        problems.append(
            f"`callback_on_step_end_tensor_inputs` contains {', '.join(map(repr, unknown))}; "
            f"available: {', '.join(allowed)}"
        )
    return problems


def check_strength(strength: Any) -> list[str]:
    """A number between 0 and 1."""
    problems = check_numbers(strength=strength)
    return problems or ([] if 0 <= strength <= 1 else [f"`strength` must be between 0 and 1, not {strength!r}"])


def check_images(**images: Any) -> list[str]:
    """Each is an image, a batch, or a list of images or batches."""
    problems = []
    for name, value in images.items():
        batches = isinstance(value, list) and value and all(getattr(one, "ndim", 0) == 4 for one in value)
        if value is None:
            problems.append(f"`{name}` is required")
        elif not batches and not is_valid_image_imagelist(value):
            problems.append(
                f"`{name}` must be a PIL image, a numpy array or a Paddle tensor, or a list of them, "
                f"not {type(value).__name__}"
            )
    return problems


def size_of(image: Any) -> tuple[int, int]:
    """Height and width of an image, or of the first image of a list or batch, in pixels."""
    while isinstance(image, list):
        image = image[0]
    if isinstance(image, PIL.Image.Image):
        return image.height, image.width
    if isinstance(image, paddle.Tensor):  # [B, C, H, W], [C, H, W] or [H, W]
        return image.shape[-2], image.shape[-1]
    height, width = image.shape[1:3] if image.ndim == 4 else image.shape[:2]  # [B, H, W, C], [H, W, C] or [H, W]
    return height, width


def check_channels(image: paddle.Tensor, expected: int) -> list[str]:
    """A preprocessed image [N, C, H, W] has the number of channels that the UNet accepts."""
    found = image.shape[1]
    return [] if found == expected else [f"`image` has {found} channel(s), the UNet accepts {expected}"]


def check_mask(mask: paddle.Tensor) -> list[str]:
    """A preprocessed mask [N, C, H, W] has one channel."""
    return [] if mask.shape[1] == 1 else [f"`mask_image` has {mask.shape[1]} channels; masks have one"]


def check_sampling(
    *,
    scheduler: HasTimesteps,
    num_inference_steps: Any,
    num_images_per_prompt: Any,
    output_type: Any,
    timesteps: Any = None,
    sigmas: Any = None,
    **values: Any,
) -> list[str]:
    """Arguments of every call: steps, number of images, output type, and finite `values` such as eta."""
    return [
        *check_counts(num_images_per_prompt=num_images_per_prompt),
        *check_numbers(**values),
        *check_schedule(
            scheduler=scheduler, num_inference_steps=num_inference_steps, timesteps=timesteps, sigmas=sigmas
        ),
        *check_output_type(output_type),
    ]


def check_schedule(*, scheduler: HasTimesteps, num_inference_steps: Any, timesteps: Any, sigmas: Any) -> list[str]:
    """The steps are given in one way, which the scheduler supports."""
    if timesteps is not None and sigmas is not None:
        return ["`timesteps` and `sigmas` are both given: pass one of them"]
    supported = inspect.signature(scheduler.set_timesteps).parameters
    for name, value in (("timesteps", timesteps), ("sigmas", sigmas)):
        if value is None:
            continue
        if name not in supported:
            return [f"`{name}` is not supported by {type(scheduler).__name__}"]
        return [] if len(value) > 0 else [f"`{name}` is empty"]
    return check_counts(num_inference_steps=num_inference_steps)


def all_finite(values: paddle.Tensor | np.ndarray) -> bool:
    """Whether a tensor or array has no NaN and no infinite value."""
    if isinstance(values, np.ndarray):
        return bool(np.isfinite(values).all())
    return bool(paddle.isfinite(values.astype("float32")).all())
