"""What the super-resolution stages share: the low-resolution image, noised and concatenated to the UNet's input.

Ho et al., "Cascaded Diffusion Models for High Fidelity Image Generation" (arXiv 2106.15282): noise conditioning
augmentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import paddle
import paddle.nn.functional as F

from ppdiffusers.pipelines.deepfloyd_if import images as images_stage
from ppdiffusers.pipelines.deepfloyd_if.base import IFBase, Prompts, Sampling
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.utils.dtypes import dtype_of

if TYPE_CHECKING:
    from ppdiffusers.image_processor import PipelineImageInput
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.deepfloyd_if.safety_checker import IFSafetyChecker
    from ppdiffusers.pipelines.deepfloyd_if.watermark import IFWatermarker
    from ppdiffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from ppdiffusers.transformers import CLIPImageProcessor, T5EncoderModel, T5Tokenizer


class IFSuperResolutionBase(IFBase):
    """A super-resolution stage; its UNet reads the low-resolution image and the level of the noise in it.

    Args:
        image_noising_scheduler: adds noise to the low-resolution image.
    """

    image_noising_scheduler: DDPMScheduler

    def __init__(
        self,
        tokenizer: T5Tokenizer | None,
        text_encoder: T5EncoderModel | None,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        image_noising_scheduler: DDPMScheduler,
        safety_checker: IFSafetyChecker | None,
        feature_extractor: CLIPImageProcessor | None,
        watermarker: IFWatermarker | None,
        requires_safety_checker: bool = True,
    ):
        super().__init__(
            tokenizer,
            text_encoder,
            unet,
            scheduler,
            safety_checker,
            feature_extractor,
            watermarker,
            requires_safety_checker,
        )
        self.register_modules(image_noising_scheduler=image_noising_scheduler)

    @device_is_optional
    def preprocess_image(self, image: PipelineImageInput, num_images_per_prompt: int, device: Any) -> paddle.Tensor:
        """Low-resolution images [B, C, h, w]; PIL images keep their size."""
        pixels = images_stage.to_pixels(image).astype(dtype_of(self.unet))
        return pixels.repeat_interleave(num_images_per_prompt, axis=0)

    def _low_resolution(
        self, image: PipelineImageInput, size: tuple[int, int], noise_level: int, prompts: Prompts, sampling: Sampling
    ) -> dict[str, Any]:
        """What the UNet reads besides images and prompts: the noised image, enlarged, and its noise level.

        Args:
            size: height and width of the generated image.
        """
        pixels = self.preprocess_image(image, prompts.num_images_per_prompt, self.device)
        upscaled = F.interpolate(pixels, size=size, mode="bilinear", align_corners=True)  # [B, C, H, W]
        level = paddle.full([upscaled.shape[0]], noise_level, dtype="int64")
        upscaled = images_stage.noised(self.image_noising_scheduler, upscaled, level, sampling.generator)
        copies = 2 if sampling.guided else 1
        return {"extra_channels": [paddle.concat([upscaled] * copies)], "class_labels": level.tile([copies])}

    @property
    def _image_channels(self) -> int:
        """Channels of images; the UNet reads two of them."""
        return self.unet.config.in_channels // 2

    def _check_networks(self) -> list[str]:
        """The components without which no argument can be checked are not None."""
        return checks.check_components(self.components, "unet", "scheduler", "image_noising_scheduler")

    def _check_low_resolution(self, image: Any, prompts: int | None) -> list[str]:
        return images_stage.check_pixels("image", image, prompts=prompts, channels=self._image_channels, multiple=1)

    def _check_noise_level(self, noise_level: Any) -> list[str]:
        """A timestep of the scheduler that adds the noise."""
        steps = self.image_noising_scheduler.config.num_train_timesteps
        if checks.is_integer(noise_level) and 0 <= noise_level < steps:
            return []
        return [f"`noise_level` must be a whole number from 0 to {steps - 1}, not {noise_level!r}"]
