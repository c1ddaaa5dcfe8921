"""Inpainting: initial latents, mask and masked image as the UNet reads them, blending with the known part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.pipelines.stages.latents import encode_image, initial_latents, repeat_to
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.pipelines.stages.denoise import Tensors
    from ppdiffusers.schedulers.common.types import Scheduler


class InpaintLatents(NamedTuple):
    """Latents at the start of an inpainting call, [B, C, h, w] each.

    Attributes:
        initial: latents to denoise.
        noise: the noise in them.
        image: latents of the image; None if they are not needed.
    """

    initial: paddle.Tensor
    noise: paddle.Tensor
    image: paddle.Tensor | None

    def requested(self, return_noise: bool, return_image_latents: bool) -> tuple[paddle.Tensor | None, ...]:
        """What `prepare_latents` of an inpainting pipeline returns; the noise comes with the latents of the image."""
        returned = (
            (True, self.initial),
            (return_noise, self.noise),
            (return_image_latents or return_noise, self.image),
        )
        return tuple(value for requested, value in returned if requested)


def check_crop(*, padding_mask_crop: Any, image: Any, mask_image: Any, output_type: Any) -> list[str]:
    """A crop requires one PIL image and mask, and PIL output."""
    if padding_mask_crop is None:
        return []
    problems = [
        f"`{name}` must be a PIL image with `padding_mask_crop`, not {type(value).__name__}"
        for name, value in (("image", image), ("mask_image", mask_image))
        if not isinstance(value, PIL.Image.Image)
    ]
    if output_type != "pil":
        problems.append(f"`output_type` must be 'pil' with `padding_mask_crop`, not {output_type!r}")
    return problems


def check_masked_latents(*, image: Any, masked_image_latents: Any, channels: int) -> list[str]:
    """Latents cannot be masked by pixels: those of the masked image are required too."""
    latents = isinstance(image, paddle.Tensor) and image.ndim == 4 and image.shape[1] == channels
    if not latents or masked_image_latents is not None:
        return []
    return ["`image` contains latents: `masked_image_latents`, those of the masked image, are required too"]


def encode_known_image(vae: AutoencoderKL, image: paddle.Tensor, generator: Generator) -> paddle.Tensor:
    """Latents [N, C, h, w] of images [N, 3, H, W]; latents stay as they are."""
    if vae.is_latents(image):
        return image
    # of a list with one generator for each generated image, the first ones sample the latents of the images
    return encode_image(vae, image, generator[: image.shape[0]] if isinstance(generator, list) else generator)


def prepare_inpaint_latents(
    scheduler: Scheduler,
    vae: AutoencoderKL,
    *,
    shape: tuple[int, int, int, int],
    dtype: paddle.dtype,
    generator: Generator,
    latents: paddle.Tensor | np.ndarray | None,
    image: paddle.Tensor | None,
    timestep: paddle.Tensor | None,
    is_strength_max: bool,
    encode: bool,
    add_noise: bool = True,
) -> InpaintLatents:
    """Initial latents: noise, or the noised image if the strength is below 1, or the image itself.

    Args:
        shape: (B, C, h, w).
        latents: noise to use instead of drawing it; the call then starts from it, whatever the strength.
        image: images [N, 3, H, W] in [-1, 1] or latents [N, C, h, w].
        timestep: noise level of each image, [B].
        encode: whether the latents of the image are needed even if the call starts from noise.
        add_noise: False if the latents of the image contain the noise already; the call then starts from them.
        generator: draws the latents of the image, if they are needed, then the noise.
    """
    image_latents = None
    if encode or not add_noise or (latents is None and not is_strength_max):
        image_latents = repeat_to(encode_known_image(vae, image, generator).astype(dtype), shape[0])
    if not add_noise:
        return InpaintLatents(image_latents, randn_tensor(shape, generator=generator, dtype=dtype), image_latents)
    noise = randn_tensor(shape, generator=generator, dtype=dtype) if latents is None else latents
    if latents is None and not is_strength_max:
        initial = scheduler.add_noise(image_latents, noise, timestep)
    else:
        initial = initial_latents(shape, scheduler.init_noise_sigma, dtype, latents=noise)
    return InpaintLatents(initial, initial_latents(shape, 1.0, dtype, latents=noise), image_latents)


def prepare_mask(mask: paddle.Tensor, size: tuple[int, int], batch_size: int, dtype: paddle.dtype) -> paddle.Tensor:
    """Resize masks [N, 1, H, W] to the size of the latents and repeat them: [batch_size, 1, h, w]."""
    return repeat_to(F.interpolate(mask, size=size, mode="nearest"), batch_size, "mask_image").astype(dtype)


def prepare_mask_and_image(
    vae: AutoencoderKL,
    mask: paddle.Tensor,
    masked_image: paddle.Tensor | None,
    *,
    size: tuple[int, int],
    batch_size: int,
    dtype: paddle.dtype,
    generator: Generator,
    guided: bool,
) -> tuple[paddle.Tensor, paddle.Tensor | None]:
    """Mask [2B or B, 1, h, w] and latents of the masked image [2B or B, C, h, w], as the UNet reads them."""
    copies = 2 if guided else 1
    mask = paddle.concat([prepare_mask(mask, size, batch_size, dtype)] * copies)
    if masked_image is None:
        return mask, None
    masked = repeat_to(encode_known_image(vae, masked_image, generator), batch_size).astype(dtype)
    return mask, paddle.concat([masked] * copies)


def blend_with_known(
    scheduler: Scheduler,
    latents: paddle.Tensor,
    mask: paddle.Tensor,
    known: InpaintLatents,
    next_timestep: np.ndarray | None,
) -> paddle.Tensor:
    """Replace latents [B, C, h, w] outside of the mask by those of the image, noised to the next timestep.

    Lugmayr et al., "RePaint" (arXiv 2201.09865), equation 8.

    Args:
        mask: [B, 1, h, w], 1 where to inpaint.
        next_timestep: [1], or None after the last step.
    """
    image = known.image
    if next_timestep is not None:
        image = scheduler.add_noise(known.image, known.noise, next_timestep)
    return (1 - mask) * image + mask * latents


def mask_channels(index: int, t: Any, tensors: Tensors) -> dict[str, Any]:
    """A condition for UNets of 9 channels, which read the mask and the latents of the masked image."""
    return {"extra_channels": (tensors["mask"], tensors["masked_image_latents"])}


class Blending:
    """Replace latents outside of the mask after each step, `(index, tensors) -> latents [B, C, h, w]`.

    Args:
        timesteps: those of the loop.
        known: latents of the image, and the noise to add to them.
    """

    def __init__(self, scheduler: Scheduler, timesteps: paddle.Tensor, known: InpaintLatents):
        self.scheduler, self.timesteps, self.known = scheduler, to_array(timesteps), known

    def __call__(self, index: int, tensors: Tensors) -> paddle.Tensor:
        latents = tensors["latents"]
        last = index == len(self.timesteps) - 1
        next_timestep = None if last else self.timesteps[index + 1 : index + 2]
        mask = tensors["mask"][: latents.shape[0]]  # it is repeated for guidance
        return blend_with_known(self.scheduler, latents, mask, self.known, next_timestep)
