"""What stages start from: noise, an image (SDEdit, arXiv 2108.01073), or an image of which they keep a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.pipelines.deepfloyd_if import images as images_stage
from ppdiffusers.pipelines.stages.denoise import Tensors
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.latents import initial_latents, repeat_to
from ppdiffusers.pipelines.stages.timesteps import last_timesteps
from ppdiffusers.utils.torch_utils import Generator

if TYPE_CHECKING:
    from ppdiffusers.image_processor import PipelineImageInput
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler


class StartsFromNoise:
    """diffusers' public method of stages that start from noise."""

    scheduler: Scheduler

    @device_is_optional
    def prepare_intermediate_images(
        self,
        batch_size: int,
        num_channels: int,
        height: int,
        width: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
    ) -> paddle.Tensor:
        """Initial noise [batch_size, num_channels, height, width]."""
        shape = (batch_size, num_channels, height, width)
        return initial_latents(shape, self.scheduler.init_noise_sigma, dtype, generator)


class StartsFromImage:
    """diffusers' public methods of stages that start from a noised image."""

    unet: UNet2DConditionModel
    scheduler: Scheduler
    _image_channels: int
    _size_multiple: int

    def get_timesteps(self, num_inference_steps: int, strength: float) -> tuple[paddle.Tensor, int]:
        """The last fraction `strength` of the scheduler's timesteps, and their number of steps."""
        return last_timesteps(self.scheduler, self.scheduler.timesteps, num_inference_steps, strength)

    def _known_pixels(self, image: PipelineImageInput) -> paddle.Tensor:
        """Images [N, C, H, W] in [-1, 1]; PIL images are resized to the UNet's `sample_size`."""
        return images_stage.to_pixels(image, self.unet.config.sample_size)

    def _check_known(self, name: str, image: Any, prompts: int | None) -> list[str]:
        """Problems of the image that the call starts from."""
        size = self.unet.config.sample_size
        return images_stage.check_pixels(
            name, image, prompts=prompts, channels=self._image_channels, multiple=self._size_multiple, size=size
        )

    @device_is_optional
    def prepare_intermediate_images(
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator = None,
    ) -> paddle.Tensor:
        """Images [N, C, H, W], repeated and noised to `timestep` [B]: [B, C, H, W]."""
        known = image.astype(dtype).repeat_interleave(num_images_per_prompt, axis=0)
        return images_stage.noised(self.scheduler, known, timestep, generator)


class KeepsPartOfImage(StartsFromImage):
    """The same of stages that generate only where a mask is white."""

    def preprocess_mask_image(self, mask_image: PipelineImageInput) -> paddle.Tensor:
        """Masks [N, 1, H, W], 1 where to generate; PIL images are resized to the UNet's `sample_size`."""
        return images_stage.to_mask(mask_image, self.unet.config.sample_size)

    def _check_known_and_mask(self, name: str, image: Any, mask_image: Any, prompts: int | None) -> list[str]:
        """Problems of the image that the call starts from, and of its mask."""
        size = self.unet.config.sample_size
        problems = self._check_known(name, image, prompts)
        return [
            *problems,
            *images_stage.check_mask(mask_image, image=None if problems else image, prompts=prompts, size=size),
        ]

    def _keeping(self, known: paddle.Tensor, mask: paddle.Tensor) -> Callable[[int, Tensors], paddle.Tensor]:
        """A function that restores images [B, C, H, W] outside of the mask after each step."""
        return lambda index, tensors: images_stage.blend(tensors["latents"], known, mask)

    def _mask_of_each(
        self, mask_image: PipelineImageInput, num_images_per_prompt: int, batch_size: int, dtype: paddle.dtype
    ) -> paddle.Tensor:
        """One mask for each image of the batch, [batch_size, 1, H, W]."""
        mask = self.preprocess_mask_image(mask_image).astype(dtype)
        if mask.shape[0] > 1:
            mask = mask.repeat_interleave(num_images_per_prompt, axis=0)
        return repeat_to(mask, batch_size, "mask_image")

    @device_is_optional
    def prepare_intermediate_images(  # diffusers' order of arguments
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        mask_image: paddle.Tensor,
        generator: Generator = None,
    ) -> paddle.Tensor:
        """Images [N, C, H, W], repeated, and noised to `timestep` [B] where the mask [B, 1, H, W] is 1."""
        known = image.astype(dtype).repeat_interleave(num_images_per_prompt, axis=0)
        return images_stage.blend(images_stage.noised(self.scheduler, known, timestep, generator), known, mask_image)
