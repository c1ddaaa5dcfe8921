"""Checks of control images, of ControlNets, and of their settings. Each returns a list of problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.controlnet.guide import one_each
from ppdiffusers.pipelines.stages import checks

if TYPE_CHECKING:
    from ppdiffusers.models.controlnets.controlnet import ControlNetModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel

# Settings that determine the shapes of residuals, and of the embeddings that ControlNet and UNet share.
_SHARED_SETTINGS = ("block_out_channels", "layers_per_block", "cross_attention_dim")


def check_controlnets(
    networks: Sequence[ControlNetModel], unet: UNet2DConditionModel, *, channels: int, scale_factor: int
) -> list[str]:
    """The ControlNets are for a UNet of this size.

    Args:
        channels: of the latents that the ControlNets read.
        scale_factor: height and width of images, relative to those of latents.
    """
    problems = []
    for n, network in enumerate(networks):
        name = "`controlnet`" if len(networks) == 1 else f"`controlnet.nets[{n}]`"
        expected = {key: unet.config[key] for key in _SHARED_SETTINGS}
        found = {key: network.config[key] for key in _SHARED_SETTINGS}
        expected |= {"in_channels": channels, "conditioning_scale_factor": scale_factor}
        found |= {
            "in_channels": network.config.in_channels,
            "conditioning_scale_factor": network.conditioning_scale_factor,
        }
        if network.config.addition_embed_type == unet.config.addition_embed_type == "text_time":
            key = "projection_class_embeddings_input_dim"  # differs between the base of SDXL and its refiner
            expected[key], found[key] = unet.config[key], network.config[key]
        problems += [
            f"{name} is for another UNet: its {key} is {found[key]}, expected {value}"
            for key, value in expected.items()
            if not _equal(found[key], value)
        ]
    return problems


def check_control_images(images: Any, *, networks: int, prompts: int | None, name: str) -> list[str]:
    """One image, or one for each prompt, for each ControlNet; several ControlNets require a list.

    Args:
        name: of the argument, for messages.
    """
    if networks == 1:
        return check_control_image(images, prompts, name)
    if not isinstance(images, list):
        return [f"`{name}` must be a list with one entry for each of the {networks} ControlNets"]
    entries = transposed(images)
    if len(entries) != networks:
        return [f"`{name}` has images for {len(entries)} ControlNets, the pipeline has {networks}"]
    return [
        problem
        for n, entry in enumerate(entries)
        for problem in check_control_image(entry, prompts, f"{name}[{n}]")
    ]  # fmt: skip


def check_control_image(image: Any, prompts: int | None, name: str) -> list[str]:
    """An image, or one for each prompt."""
    problems = checks.check_images(**{name: image})
    if problems:
        return problems
    batch = isinstance(image, list) or (isinstance(image, np.ndarray | paddle.Tensor) and image.ndim == 4)
    count = len(image) if batch else 1
    if count == 1 or prompts is None or count == prompts:
        return []
    return [f"`{name}` has {count} images for {prompts} prompt(s): pass one image, or one for each prompt"]


def check_control_size(entries: Sequence[Any], *, name: str, height: int | None, width: int | None) -> list[str]:
    """Images for several ControlNets have one size, unless height and width are given."""
    sizes = list(dict.fromkeys(map(checks.size_of, entries)))
    if len(sizes) == 1 or (height is not None and width is not None):
        return []
    listed = ", ".join(f"{h} x {w}" for h, w in sizes)
    return [f"the images in `{name}` have different sizes ({listed}, height x width): pass `height` and `width`"]


def check_control_settings(*, networks: int, scale: Any, start: Any, end: Any, of: str = "ControlNet(s)") -> list[str]:
    """One finite scale, and 0 <= start < end <= 1, for all ControlNets or for each.

    Args:
        of: what lists have entries for, for messages.
    """
    settings = {"controlnet_conditioning_scale": scale, "control_guidance_start": start, "control_guidance_end": end}
    problems = []
    for name, value in settings.items():
        listed = one_each(value, networks)
        if len(listed) != networks:
            problems.append(f"`{name}` has {len(listed)} entries for {networks} {of}")
        problems += [problem for one in listed for problem in checks.check_numbers(**{name: one})]
    if problems:
        return problems
    pairs = dict.fromkeys(zip(one_each(start, networks), one_each(end, networks), strict=True))
    return [
        f"`control_guidance_start` {first!r} and `control_guidance_end` {last!r} must be 0 <= start < end <= 1"
        for first, last in pairs
        if not 0 <= first < last <= 1
    ]


def check_pixels(image: Any, channels: int) -> list[str]:
    """An image is not latents with this number of channels, which a mask of pixels does not fit."""
    latents = isinstance(image, paddle.Tensor) and image.ndim == 4 and image.shape[1] == channels
    return [f"`image` has {channels} channels, those of latents: pass an image"] if latents else []


def per_network(images: Any, networks: int) -> list[Any]:
    """The images of each ControlNet; nested lists have one list for each prompt."""
    return [images] if networks == 1 else transposed(images)


def transposed(images: list[Any]) -> list[Any]:
    """Exchange prompts and ControlNets of nested lists; other lists are returned as they are."""
    if not any(isinstance(entry, list) for entry in images):
        return images
    return [list(entry) for entry in zip(*images, strict=False)]


def _equal(found: Any, expected: Any) -> bool:
    """Whether settings are equal; a list with one number for all levels is the same as this number."""
    found, expected = (list(v) if isinstance(v, list | tuple) else v for v in (found, expected))
    if isinstance(expected, list) and not isinstance(found, list):
        return all(value == found for value in expected)
    return found == expected
