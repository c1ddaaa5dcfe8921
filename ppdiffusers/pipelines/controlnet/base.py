"""What pipelines with ControlNets share: the component, control images and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from ppdiffusers.pipelines.controlnet.checks import check_control_image
from ppdiffusers.pipelines.controlnet.control import Control, control_tensor
from ppdiffusers.pipelines.controlnet.guide import needs_guess_mode
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.device import device_is_optional

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.controlnets.controlnet import ControlNetModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class ControlNetMixin:
    """The component `controlnet`, its image processor, and diffusers' public methods for control images."""

    _control_image_name = "control_image"  # name of the argument of the call
    _several: type = MultiControlNetModel  # what a list of ControlNets becomes
    controlnet: ControlNetModel | MultiControlNetModel

    def _register_controlnet(self: Any, controlnet: Any) -> None:
        """Register a ControlNet, or several ones as one network."""
        several = isinstance(controlnet, list | tuple)
        self.register_modules(controlnet=self._several(controlnet) if several else controlnet)
        settings = {"vae_scale_factor": self.vae_scale_factor, "do_convert_rgb": True}
        self.image_processor = VaeImageProcessor(
            **settings, vae_latent_channels=self.image_processor.config.vae_latent_channels
        )
        self.control_image_processor = VaeImageProcessor(**settings, do_normalize=False)

    def _control(self, images: Any, scale: Any, start: Any, end: Any, guess_mode: bool = False) -> Control:
        """The control images of a call and their settings; pooled residuals require guess mode."""
        return Control(
            self.controlnet,
            images,
            name=self._control_image_name,
            scale=scale,
            start=start,
            end=end,
            guess_mode=guess_mode or needs_guess_mode(self.controlnet),
        )

    def check_image(self, image: Any, prompt: Any, prompt_embeds: Any) -> None:
        """Raise an InputError unless `image` is one control image, or one for each prompt."""
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(self, check_control_image(image, prompts, self._control_image_name))

    @device_is_optional
    def prepare_control_image(
        self: Any,
        image: PipelineImageInput,
        width: int | None,
        height: int | None,
        batch_size: int,
        num_images_per_prompt: int,
        device: Any,
        dtype: paddle.dtype,
        do_classifier_free_guidance: bool = False,
        guess_mode: bool = False,
    ) -> paddle.Tensor:
        """Control images [batch_size, C, height, width] in [0, 1], twice with guidance."""
        return control_tensor(
            self.control_image_processor,
            image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            dtype=dtype,
            guided=do_classifier_free_guidance and not guess_mode,
        )


class ControlNetInpaintMixin(ControlNetMixin):
    """The same, for control images that are cropped like the image."""

    @device_is_optional
    def prepare_control_image(
        self: Any,
        image: PipelineImageInput,
        width: int | None,
        height: int | None,
        batch_size: int,
        num_images_per_prompt: int,
        device: Any,
        dtype: paddle.dtype,
        crops_coords: tuple[int, int, int, int] | None,
        resize_mode: str,
        do_classifier_free_guidance: bool = False,
        guess_mode: bool = False,
    ) -> paddle.Tensor:
        """Control images [batch_size, C, height, width] in [0, 1], twice with guidance."""
        return control_tensor(
            self.control_image_processor,
            image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            dtype=dtype,
            guided=do_classifier_free_guidance and not guess_mode,
            crops_coords=crops_coords,
            resize_mode=resize_mode,
        )


class ControlNetBase(ControlNetMixin, StableDiffusionBase, IPAdapterMixin):
    """Components of `StableDiffusionBase` and ControlNets.

    Args:
        controlnet: a ControlNet for the UNet, or a list; the residuals of several ControlNets are added.
    """

    _corrected_settings: tuple[str, ...] = ()  # diffusers corrects none here

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel | Sequence[ControlNetModel] | MultiControlNetModel,
        scheduler: Scheduler,
        safety_checker: StableDiffusionSafetyChecker | None,
        feature_extractor: CLIPImageProcessor | None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        requires_safety_checker: bool = True,
    ):
        super().__init__(
            vae,
            text_encoder,
            tokenizer,
            unet,
            scheduler,
            safety_checker,
            feature_extractor,
            image_encoder,
            requires_safety_checker,
        )
        self._register_controlnet(controlnet)

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        controlnet_conditioning_scale: Any = 1.0,
        control_guidance_start: Any = 0.0,
        control_guidance_end: Any = 1.0,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments; `image` is the control image."""
        control = self._control(image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end)
        checks.raise_problems(
            self,
            self._check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
            ),
            control.check(checks.num_prompts(prompt, prompt_embeds)),
        )
