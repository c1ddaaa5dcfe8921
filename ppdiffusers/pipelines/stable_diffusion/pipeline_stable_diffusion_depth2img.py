"""Image to image that preserves depth, guided by a prompt: the UNet of Stable Diffusion 2 that reads a depth map.

As in `StableDiffusionImg2ImgPipeline` denoising starts from the noised image; the depth map, concatenated to the
latents, preserves the shapes even if nothing else of the image is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.latents import decode_latents, repeat_to
from ppdiffusers.pipelines.stages.legacy import correct_unet
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.utils.depth import estimate_depth, scale_depth
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPTextModel, CLIPTokenizer, DPTForDepthEstimation, DPTImageProcessor


class StableDiffusionDepth2ImgPipeline(Img2ImgBase):
    """Generate images from images, their depth and prompts; other components are those of `StableDiffusionBase`.

    Args:
        unet: has one input channel more than the latents: the depth.
        depth_estimator: estimates the depth of images.
        feature_extractor: preprocesses images for the depth estimator.
    """

    _optional_components = ()
    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "depth_mask")

    depth_estimator: DPTForDepthEstimation
    feature_extractor: DPTImageProcessor

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        depth_estimator: DPTForDepthEstimation,
        feature_extractor: DPTImageProcessor,
    ):
        DiffusionPipeline.__init__(self)
        correct_unet(unet)
        self._register_with_vae(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            depth_estimator=depth_estimator,
            feature_extractor=feature_extractor,
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        depth_map: paddle.Tensor | None = None,
        strength: float = 0.8,
        num_inference_steps: int | None = 50,
        guidance_scale: float | None = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float | None = 0.0,
        generator: Generator = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> ImagePipelineOutput | tuple:
        """Change images according to prompts and preserve their depth.

        Arguments that are not listed are those of `StableDiffusionImg2ImgPipeline`.

        Args:
            image: images to start from, or, with a `depth_map`, their latents [N, C, h, w].
            depth_map: [N, H, W] of any size and scale, larger is nearer; by default it is estimated.
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                strength,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                callback_on_step_end_tensor_inputs=tensor_inputs,
            ),
            checks.check_images(image=image),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            _check_depth_map(depth_map),
            checks.check_callbacks(callback_on_step_end=callback_on_step_end, callback=callback),
            checks.check_generators_of(generator, prompts, num_images_per_prompt),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. remaining timesteps, prompts
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
        self._num_timesteps = len(timesteps)
        conditioning = self._conditioning(
            prompt=prompt,
            negative_prompt=negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        negative_prompt_embeds = conditioning.negative_prompt_embeds  # [B, L, D]
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        loop = DenoisingLoop(
            self,
            timesteps,
            num_inference_steps,
            callback_on_step_end=callback_on_step_end,
            tensor_inputs=tensor_inputs,
            callback=callback,
            callback_steps=callback_steps,
        )
        loop.finite.note("the text encoder", prompt_embeds)

        # 2. the depth, and latents of the image, noised to the first of these timesteps
        depth_mask = self.prepare_depth_map(
            image, depth_map, batch_size, self.do_classifier_free_guidance, prompt_embeds.dtype, self.device
        )  # [2B or B, 1, h, w]
        latents = self.prepare_latents(
            self._preprocess(image),  # [N, 3, H, W]
            first_timestep(timesteps, batch_size),
            prompts,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w]
        loop.finite.note("the VAE's encoder", latents)
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(self.unet, self.scheduler, cross_attention_kwargs=cross_attention_kwargs)
        for i, t in loop.steps():
            denoiser.extra_channels = (depth_mask,)
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, negative_prompt_embeds, depth_mask = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                depth_mask=depth_mask,
            )

        # 4. decode
        if output_type != "latent":
            latents = decode_latents(self.vae, latents, loop.finite)  # [B, 3, H, W]
        loop.finite.warn()
        images = self.image_processor.postprocess(latents, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @device_is_optional
    def prepare_depth_map(
        self,
        image: PipelineImageInput,
        depth_map: paddle.Tensor | None,
        batch_size: int,
        do_classifier_free_guidance: bool,
        dtype: paddle.dtype,
        device: Any,
    ) -> paddle.Tensor:
        """Depth of the images at the size of the latents, scaled to [-1, 1]: [2B or B, 1, h, w]; larger is nearer.

        Raises:
            InputError: latents without a depth map, or a constant depth map.
        """
        images = _single_images(image)
        size, is_latents = self._latent_size(images[0])
        if depth_map is None and is_latents:
            raise InputError("The depth of latents cannot be estimated.", remedy="pass `depth_map`.")
        if depth_map is None:
            depth_map = estimate_depth(images, self.depth_estimator, self.feature_extractor)  # [N, H, W]
        where = "`depth_map`" if is_latents else "`depth_map`, or the estimated depth"
        depth = (2.0 * scale_depth(depth_map, size, where) - 1.0).astype(dtype)  # [N, 1, h, w]
        depth = repeat_to(depth, batch_size, "depth_map")
        return paddle.concat([depth] * 2) if do_classifier_free_guidance else depth

    def _latent_size(self, image: PIL.Image.Image | np.ndarray | paddle.Tensor) -> tuple[list[int], bool]:
        """(height and width of the latents of an image, whether the image is latents already)."""
        if isinstance(image, PIL.Image.Image):
            height, width = image.height, image.width
        elif isinstance(image, paddle.Tensor):  # [C, H, W]
            height, width = image.shape[-2:]
            if self.vae.is_latents(image):
                return [height, width], True
        else:  # [H, W, C]
            height, width = image.shape[:2]
        return [height // self.vae_scale_factor, width // self.vae_scale_factor], False


def _single_images(image: PipelineImageInput) -> list[PIL.Image.Image | np.ndarray | paddle.Tensor]:
    """The images of a list, a batch, or a list of batches."""
    if isinstance(image, PIL.Image.Image) or getattr(image, "ndim", 0) in (2, 3):
        return [image]
    return [one for some in image for one in (some if getattr(some, "ndim", 0) == 4 else [some])]


def _check_depth_map(depth_map: Any) -> list[str]:
    """A finite tensor [images, height, width], or None."""
    if depth_map is None:
        return []
    if not isinstance(depth_map, paddle.Tensor) or depth_map.ndim != 3:
        found = tuple(depth_map.shape) if hasattr(depth_map, "shape") else type(depth_map).__name__
        return [f"`depth_map` must be a Paddle tensor [images, height, width], not {found}"]
    return [] if checks.all_finite(depth_map) else ["`depth_map` contains NaN or infinite values"]
