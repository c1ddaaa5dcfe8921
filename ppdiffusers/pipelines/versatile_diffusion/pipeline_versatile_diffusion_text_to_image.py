"""Text to image. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion Model", arXiv
2211.08332."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.pipelines.versatile_diffusion.base import CallSettings, VersatileDiffusionBase
from ppdiffusers.pipelines.versatile_diffusion.conditioned_unet import text_conditioned_unet
from ppdiffusers.pipelines.versatile_diffusion.embeddings import encode_prompts, with_unconditional
from ppdiffusers.utils.torch_utils import Generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPTextModelWithProjection,
        CLIPTokenizer,
    )


class VersatileDiffusionTextToImagePipeline(VersatileDiffusionBase):
    """Generate images from prompts.

    Args:
        tokenizer, text_encoder: encode prompts.
        image_unet: denoises latents of images. The pipeline's attribute is a UNet with its layers and the transformers
            of `text_unet`.
        text_unet: None if `image_unet` attends to prompts already.
        vae: decodes latents to images.
        scheduler: any scheduler for the noise schedule of the UNet.
    """

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModelWithProjection

    _optional_components = ("text_unet",)
    conditioned_unet = staticmethod(text_conditioned_unet)

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModelWithProjection,
        image_unet: UNet2DConditionModel,
        text_unet: UNetFlatConditionModel | None,
        vae: AutoencoderKL,
        scheduler: Scheduler,
    ):
        super().__init__()
        self._register(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            image_unet=image_unet,
            text_unet=text_unet,
            vae=vae,
            scheduler=scheduler,
        )

    def remove_unused_weights(self) -> None:
        """Release the text UNet: the pipeline uses only its transformers."""
        self.register_modules(text_unet=None)

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Generate images from prompts.

        Args:
            prompt: `num_images_per_prompt` images are generated for each string, of which the first 77 tokens are used.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`.
            num_inference_steps: number of denoising steps.
            guidance_scale: classifier-free guidance; at 1 or less there is no guidance and each step takes half the
                time.
            negative_prompt: what the images should not show; it has no effect without guidance.
            eta: of DDIM, 0 to 1: how much noise is added in each step.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            latents: standard normal noise [B, C, height / 8, width / 8], used instead of drawing it.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: if False, return `(images,)`.
            callback, callback_steps: called as `f(index, timestep, latents)` every `callback_steps` steps.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        settings = CallSettings(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_images_per_prompt=num_images_per_prompt,
            eta=eta,
            generator=generator,
            latents=latents,
            output_type=output_type,
            return_dict=return_dict,
            callback=callback,
            callback_steps=callback_steps,
        )
        problems = checks.check_prompts(prompt=prompt, negative_prompt=negative_prompt)
        self._check(settings, problems, prompts=checks.num_prompts(prompt))
        prompts = [prompt] if isinstance(prompt, str) else prompt
        negative_embeds = None
        if settings.guided:
            negatives = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * len(prompts)
            negative_embeds = encode_prompts(self.tokenizer, self.text_encoder, negatives)
        embeds = encode_prompts(self.tokenizer, self.text_encoder, prompts)  # [B, L, D]
        return self._generate(with_unconditional(embeds, negative_embeds, num_images_per_prompt), settings)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            checks.check_size(height=height, width=width),
            checks.check_callbacks(
                callback_steps=callback_steps, tensor_inputs=callback_on_step_end_tensor_inputs, allowed=("latents",)
            ),
        )
