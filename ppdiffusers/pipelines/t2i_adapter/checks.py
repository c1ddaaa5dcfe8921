"""Checks of T2I-Adapters and of their control images. Each returns a list of problems."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.models.blocks.factory import has_cross_attention
from ppdiffusers.models.t2i_adapters.multi_adapter import MultiAdapter
from ppdiffusers.models.t2i_adapters.t2i_adapter import Feature, T2IAdapter
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.t2i_adapter.control_images import Adapter, adapters_of, images_of

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel


def check_adapter(adapter: Adapter, unet: UNet2DConditionModel, scale_factor: int) -> list[str]:
    """The adapter is for a UNet of these widths, and for a VAE with this downscaling.

    Args:
        scale_factor: height and width of images, relative to those of latents.
    """
    expected = residual_places(unet, scale_factor)
    found = adapters_of(adapter)[0].features  # those of other adapters are the same
    problems = [
        f"`adapter` is for another UNet: its residual {n} has {mine.channels} channels at 1/{mine.downscale} of the "
        f"size, the UNet {place.channels} channels at 1/{place.downscale}"
        for n, (mine, place) in enumerate(zip(found, expected))
        if mine != place
    ]
    if len(found) > len(expected):
        problems.append(f"`adapter` is for another UNet: it has {len(found)} residuals, the UNet adds {len(expected)}")
    return problems


def residual_places(unet: UNet2DConditionModel, scale_factor: int) -> list[Feature]:
    """The channels and downscaling of the residuals that a UNet adds: in its down blocks, then in its middle block."""
    config = unet.config
    places, downscale = [], scale_factor
    for level, (block_type, width) in enumerate(zip(config.down_block_types, config.block_out_channels, strict=True)):
        halved = downscale * 2 if level < len(config.block_out_channels) - 1 else downscale
        places.append(Feature(width, downscale if has_cross_attention(block_type) else halved))
        downscale = halved
    return [*places, Feature(places[-1].channels, downscale)] if config.mid_block_type else places


def check_control_images(
    adapter: Adapter, images: Any, *, prompts: int | None, height: int | None = None, width: int | None = None
) -> list[str]:
    """One image, or one for each prompt, for each adapter; several adapters require a list. Tensors have the size.

    Args:
        height, width: of the images to generate; None to skip the check of sizes of tensors.
    """
    count = len(adapters_of(adapter))
    if isinstance(adapter, MultiAdapter) and not (isinstance(images, list) and len(images) == count):
        given = f"{len(images)} entries" if isinstance(images, list) else type(images).__name__
        return [f"`image` must be a list with one entry for each of the {count} adapters, not {given}"]
    names = [f"image[{n}]" for n in range(count)] if isinstance(adapter, MultiAdapter) else ["image"]
    return [
        problem
        for name, one, entry in zip(names, adapters_of(adapter), images_of(adapter, images), strict=True)
        for problem in _check_image(name, one, entry, prompts, height, width)
    ]


def _check_image(
    name: str, adapter: T2IAdapter, images: Any, prompts: int | None, height: int | None, width: int | None
) -> list[str]:
    problems = checks.check_images(**{name: images})
    if problems:
        return problems
    batches = images if isinstance(images, list) else [images]
    counts = [one.shape[0] if getattr(one, "ndim", 0) == 4 else 1 for one in batches]
    if sum(counts) != 1 and prompts is not None and sum(counts) != prompts:
        problems.append(
            f"`{name}` has {sum(counts)} images for {prompts} prompt(s): pass one image, or one for each prompt"
        )
    channels = {_channels(one) for one in batches} - {None, adapter.config.in_channels}
    problems += [
        f"`{name}` has {found} channel(s), the adapter accepts {adapter.config.in_channels}" for found in channels
    ]
    if adapter.config.in_channels not in (1, 3) and any(isinstance(one, PIL.Image.Image) for one in batches):
        problems.append(f"`{name}` must be a tensor: the adapter accepts {adapter.config.in_channels} channels")
    sizes = {checks.size_of(one) for one in batches if not isinstance(one, PIL.Image.Image)}
    if height is not None and width is not None:
        problems += [
            f"`{name}` is {found[0]} x {found[1]}, the images to generate are {height} x {width} (height x width): "
            "tensors are not resized"
            for found in sorted(sizes - {(height, width)})
        ]
    return problems


def _channels(image: Any) -> int | None:
    """Channels of an array or tensor; None for a PIL image, which is converted."""
    if isinstance(image, paddle.Tensor):
        return image.shape[-3] if image.ndim > 2 else 1
    if isinstance(image, np.ndarray):
        return image.shape[-1] if image.ndim > 2 else 1
    return None


def check_size(adapter: Adapter, height: int | None, width: int | None) -> list[str]:
    """Height and width are multiples of 8 and of what the adapter downscales; None where control images are missing."""
    multiple = math.lcm(8, adapter.downscale_factor)
    return checks.check_size(
        height=multiple if height is None else height, width=multiple if width is None else width, multiple=multiple
    )


def check_scale(adapter: Adapter, scale: Any) -> list[str]:
    """One finite number, or one for each adapter; None is supported by several adapters."""
    name, count = "adapter_conditioning_scale", len(adapters_of(adapter))
    if scale is None and isinstance(adapter, MultiAdapter):
        return []
    listed = list(scale) if isinstance(scale, list | tuple) else [scale] * count
    if len(listed) != count:
        return [f"`{name}` has {len(listed)} entries for {count} adapter(s)"]
    return [problem for one in listed for problem in checks.check_numbers(**{name: one})]
