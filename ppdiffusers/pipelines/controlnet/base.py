"""What pipelines with ControlNets share: the component, control images and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from ppdiffusers.pipelines.controlnet import checks as control_checks
from ppdiffusers.pipelines.controlnet.guide import ControlNetGuide, needs_guess_mode, networks_of
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.utils.dtypes import dtype_of

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


class ControlNetBase(StableDiffusionBase):
    """Components of `StableDiffusionBase` and ControlNets.

    Args:
        controlnet: a ControlNet for the UNet, or a list; the residuals of several ControlNets are added.
    """

    _corrected_settings: tuple[str, ...] = ()  # diffusers corrects none here
    _control_image_name = "control_image"  # name of the argument of the call
    controlnet: ControlNetModel | MultiControlNetModel

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
        if isinstance(controlnet, list | tuple):
            controlnet = MultiControlNetModel(controlnet)
        self.register_modules(controlnet=controlnet)
        settings = {"vae_scale_factor": self.vae_scale_factor, "do_convert_rgb": True}
        self.image_processor = VaeImageProcessor(
            **settings, vae_latent_channels=self.image_processor.config.vae_latent_channels
        )
        self.control_image_processor = VaeImageProcessor(**settings, do_normalize=False)

    # -- control images -----------------------------------------------------------------------------------------------

    def _prepare_control_image(
        self,
        image: Any,
        width: int | None,
        height: int | None,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        do_classifier_free_guidance: bool,
        guess_mode: bool,
        **crop: Any,
    ) -> paddle.Tensor:
        """Control images [B, C, H, W] in [0, 1], twice with guidance.

        Args:
            batch_size: number of images to generate, B.
            crop: `crops_coords` and `resize_mode` of the image processor.
        """
        image = self.control_image_processor.preprocess(image, height=height, width=width, **crop)
        # one image for all prompts, or one for each
        repeats = batch_size if image.shape[0] == 1 else num_images_per_prompt
        image = image.astype("float32").repeat_interleave(repeats, axis=0).astype(dtype)  # [B, C, H, W]
        return paddle.concat([image] * 2) if do_classifier_free_guidance and not guess_mode else image

    def _control_images(self, prepare: Any, images: Any, **arguments: Any) -> paddle.Tensor | list[paddle.Tensor]:
        """Prepare the images of each ControlNet by a public method, which may be overridden."""
        arguments = {
            **arguments,
            "device": self.device,
            "dtype": dtype_of(self.controlnet),
            "do_classifier_free_guidance": self.do_classifier_free_guidance,
        }
        entries = control_checks.per_network(images, len(networks_of(self.controlnet)))
        prepared = [prepare(image=entry, **arguments) for entry in entries]
        return prepared if isinstance(self.controlnet, MultiControlNetModel) else prepared[0]

    def _control_size(self, images: Any, height: int | None, width: int | None) -> tuple[int, int]:
        """Height and width, by default those of the control images, rounded down to sizes that the VAE can encode."""
        first = control_checks.per_network(images, len(networks_of(self.controlnet)))[0]
        default = control_checks.size_of(first)
        factor = self.vae_scale_factor
        height, width = default[0] if height is None else height, default[1] if width is None else width
        return height - height % factor, width - width % factor

    def _guess_mode(self, guess_mode: bool) -> bool:
        return guess_mode or needs_guess_mode(self.controlnet)

    def _control_guide(self, image: Any, scale: Any, start: Any, end: Any, guess_mode: bool) -> ControlNetGuide:
        return ControlNetGuide(
            self.controlnet,
            self.scheduler,
            image,
            scale=scale,
            start=start,
            end=end,
            guess_mode=guess_mode,
            num_steps=self.num_timesteps,
        )

    # -- checks -------------------------------------------------------------------------------------------------------

    def check_image(self, image: Any, prompt: Any, prompt_embeds: Any) -> None:
        """Raise an InputError unless `image` is one control image, or one for each prompt."""
        prompts = checks.num_prompts(prompt, prompt_embeds)
        name = self._control_image_name
        checks.raise_problems(self, control_checks.check_control_image(image, prompts, name))

    def _check_control_arguments(self, images: Any, prompts: int | None, scale: Any, start: Any, end: Any) -> list[str]:
        """Problems of control images and of the settings of ControlNets."""
        count = len(networks_of(self.controlnet))
        return [
            *control_checks.check_control_images(
                images, networks=count, prompts=prompts, name=self._control_image_name
            ),
            *control_checks.check_control_settings(networks=count, scale=scale, start=start, end=end),
        ]

    def _check_controlnets(self, channels: int) -> list[str]:
        """Problems of ControlNets that are not for this UNet; `channels` are those of the latents that they read."""
        networks = networks_of(self.controlnet)
        return control_checks.check_controlnets(
            networks, self.unet, channels=channels, scale_factor=self.vae_scale_factor
        )

    def _check_control_size(
        self, images: Any, prompts: int | None, height: Any, width: Any, image: Any = None
    ) -> tuple[int | None, int | None, list[str]]:
        """Height and width of the control images (None if they are invalid), and problems of their sizes.

        Args:
            image: the image that the call starts from, which is resized to the same size.
        """
        given = {name: 1 if value is None else value for name, value in (("height", height), ("width", width))}
        problems = checks.check_size(**given, multiple=1)
        count, name = len(networks_of(self.controlnet)), self._control_image_name
        if problems or control_checks.check_control_images(images, networks=count, prompts=prompts, name=name):
            return None, None, problems
        problems = control_checks.check_control_size(images, networks=count, name=name, height=height, width=width)
        size = self._control_size(images, height, width)
        if image is not None and not checks.check_images(image=image):
            problems += self._check_image_size(image, size, resized=height is not None and width is not None)
        return *size, problems

    def _check_image_size(self, image: Any, size: tuple[int, int], resized: bool) -> list[str]:
        """The image has the size of the control images, unless it is resized to it."""
        height, width = control_checks.size_of(image)
        factor = self.vae_scale_factor
        if isinstance(image, paddle.Tensor) and image.ndim == 4 and self.vae.is_latents(image):
            height, width, resized = height * factor, width * factor, False
        found = (height - height % factor, width - width % factor)
        if resized or found == size:
            return []
        return [
            f"`image` is {height} x {width} and `{self._control_image_name}` {size[0]} x {size[1]} (height x width): "
            "pass `height` and `width`, or images of the same size"
        ]
