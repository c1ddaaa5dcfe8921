"""Images and masks that calls start from: preprocessing, checks, noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.utils.pil_modes import to_grayscale, to_rgb
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.image_processor import PipelineImageInput
    from ppdiffusers.schedulers.common.types import Scheduler


def resize(images: PIL.Image.Image, img_size: int) -> PIL.Image.Image:
    """Resize an image: the shorter side becomes `img_size`, the longer one a multiple of 8."""
    width, height = images.size
    ratio, units = width / height, img_size / 8
    if ratio >= 1:
        size = int(round(units * ratio) * 8), img_size
    else:
        size = img_size, int(round(units / ratio) * 8)
    return images.resize(size, resample=PIL.Image.Resampling.BICUBIC)


def to_pixels(image: PipelineImageInput, size: int | None = None) -> paddle.Tensor:
    """Images as one tensor [N, C, H, W].

    Args:
        image: PIL images of every mode, which become values in [-1, 1]; arrays [H, W], [H, W, C] or [N, H, W, C] or
            tensors [C, H, W] or [N, C, H, W], whose values are not changed; or a list of such images.
        size: the shorter side of PIL images is resized to it; None for no change.

    Raises:
        InputError: the images of a list have different sizes or types.
    """
    images = list(image) if isinstance(image, list | tuple) else [image]
    if isinstance(images[0], PIL.Image.Image):
        images = [to_rgb(one) for one in images]
        resized = images if size is None else [resize(one, size) for one in images]
        images = [np.asarray(one).astype(np.float32) / 127.5 - 1.0 for one in resized]
    if isinstance(images[0], np.ndarray):
        return _to_tensor(_join([one[..., None] if one.ndim == 2 else one for one in images], "image"))
    return paddle.concat([one if one.ndim == 4 else one.unsqueeze(0) for one in _of_one_size(images, "image")])


def to_mask(mask_image: PipelineImageInput, size: int | None = None) -> paddle.Tensor:
    """Masks as one tensor [N, 1, H, W] of 0 (keep) and 1 (generate).

    Args:
        mask_image: PIL images of every mode, arrays [H, W] or [N, H, W], tensors [H, W], [N, H, W] or [N, 1, H, W]; or
            a list. Values of at least 0.5 (in [0, 1]) are 1.
        size: as in `to_pixels`.

    Raises:
        InputError: the masks of a list have different sizes or types.
    """
    masks = list(mask_image) if isinstance(mask_image, list | tuple) else [mask_image]
    if isinstance(masks[0], PIL.Image.Image):
        masks = [to_grayscale(one) for one in masks]
        resized = masks if size is None else [resize(one, size) for one in masks]
        masks = [np.asarray(one).astype(np.float32) / 255.0 for one in resized]
    if isinstance(masks[0], np.ndarray):
        masks = [paddle.to_tensor(one.astype(np.float32)) for one in masks]
    shaped = [one.unsqueeze([0, 1]) if one.ndim == 2 else one.unsqueeze(1) if one.ndim == 3 else one for one in masks]
    return (paddle.concat(_of_one_size(shaped, "mask_image")) >= 0.5).astype("float32")


def noised(scheduler: Scheduler, image: paddle.Tensor, timestep: paddle.Tensor, generator: Generator) -> paddle.Tensor:
    """Images [B, C, H, W] with the noise of `timestep` [B]."""
    noise = randn_tensor(image.shape, generator=generator, dtype=image.dtype)
    return scheduler.add_noise(image, noise, timestep)


def blend(images: paddle.Tensor, known: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """`images` where the mask [B, 1, H, W] is 1, `known` elsewhere: [B, C, H, W]."""
    return (1 - mask) * known + mask * images


# -- checks -----------------------------------------------------------------------------------------------------------


def check_pixels(
    name: str, image: Any, *, prompts: int | None, channels: int, multiple: int, size: int | None = None
) -> list[str]:
    """One image for each prompt, with the channels and a size that the network accepts.

    Args:
        multiple: height and width are multiples of it; 1 if they are resized later.
        size: as in `to_pixels`.
    """
    problems = checks.check_images(**{name: image})
    if problems:
        return problems
    shape, problems = _shape_of(to_pixels, image, size)
    if problems:
        return problems
    count, found, height, width = shape
    if found != channels:
        problems.append(f"`{name}` has {found} channel(s), not {channels}")
    if prompts is not None and count != prompts:
        problems.append(f"`{name}` has {count} image(s) for {prompts} prompt(s): pass one for each prompt")
    if height % multiple or width % multiple:
        problems.append(f"`{name}` has {height} x {width} pixels, which are not multiples of {multiple}")
    return problems


def check_mask(mask_image: Any, *, image: Any, prompts: int | None, size: int) -> list[str]:
    """One mask, or one for each prompt, of the size of the image.

    Args:
        image: the image of the call; None if it is not valid.
        size: as in `to_pixels`.
    """
    problems = checks.check_images(mask_image=mask_image)
    if problems:
        return problems
    shape, problems = _shape_of(to_mask, mask_image, size)
    if problems:
        return problems
    count, channels, *found = shape
    if channels != 1:
        problems.append(f"`mask_image` has {channels} channels; masks have one")
    if prompts is not None and count not in (1, prompts):
        problems.append(f"`mask_image` has {count} mask(s) for {prompts} prompt(s): pass one, or one for each prompt")
    expected = found if image is None else to_pixels(image, size).shape[2:]
    if list(found) != list(expected):
        problems.append(f"`mask_image` has {found[0]} x {found[1]} pixels, the image {expected[0]} x {expected[1]}")
    return problems


def _shape_of(convert: Callable[..., paddle.Tensor], image: Any, size: int | None) -> tuple[list[int], list[str]]:
    try:
        return list(convert(image, size).shape), []
    except InputError as error:
        return [], [error.what]


# -- joining ----------------------------------------------------------------------------------------------------------


def _to_tensor(images: np.ndarray) -> paddle.Tensor:  # [N, H, W, C] -> [N, C, H, W]
    return paddle.to_tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32))


def _join(images: list[np.ndarray], name: str) -> np.ndarray:
    return np.concatenate([one if one.ndim == 4 else one[None] for one in _of_one_size(images, name)])


def _of_one_size(images: list[Any], name: str) -> list[Any]:
    kinds = {type(one).__name__ for one in images}
    shapes = {tuple(one.shape[-3:]) for one in images if hasattr(one, "shape")}
    if len(kinds) > 1 or len(shapes) > 1:
        found = ", ".join(sorted(kinds) if len(kinds) > 1 else map(str, sorted(shapes)))
        raise InputError(f"`{name}` is a list of images of different types or sizes: {found}.")
    return images
