"""Images from prompts and images. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion
Model", arXiv 2211.08332, section 3.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.pipelines.versatile_diffusion.base import CallSettings, VersatileDiffusionBase
from ppdiffusers.pipelines.versatile_diffusion.conditioned_unet import dual_conditioned_unet
from ppdiffusers.pipelines.versatile_diffusion.embeddings import (
    UNCONDITIONAL_IMAGE,
    encode_images,
    encode_prompts,
    num_images,
    with_unconditional,
)

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class VersatileDiffusionDualGuidedPipeline(VersatileDiffusionBase):
    """Generate images that are similar to an image and follow a prompt.

    Args:
        tokenizer, text_encoder: encode prompts.
        image_feature_extractor, image_encoder: encode images.
        image_unet: denoises latents of images. The pipeline's attribute is a UNet with its layers, in which each
            transformer is paired with that of `text_unet`.
        text_unet: None if `image_unet` attends to both already.
        vae: decodes latents to images.
        scheduler: any scheduler for the noise schedule of the UNet.
    """

    _optional_components = ("text_unet",)
    conditioned_unet = staticmethod(dual_conditioned_unet)

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        image_feature_extractor: CLIPImageProcessor,
        text_encoder: CLIPTextModelWithProjection,
        image_encoder: CLIPVisionModelWithProjection,
        image_unet: UNet2DConditionModel,
        text_unet: UNetFlatConditionModel | None,
        vae: AutoencoderKL,
        scheduler: Scheduler,
    ):
        super().__init__()
        self._register(
            tokenizer=tokenizer,
            image_feature_extractor=image_feature_extractor,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
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
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor,
        text_to_image_strength: float = 0.5,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            prompt: the first 77 tokens of each string are used.
            image: one image for each prompt. Arrays and tensors contain integers from 0 to 255, or floats from 0 to 1.
            text_to_image_strength: weight of the prompt, 0 to 1; that of the image is the remainder.
            guidance_scale: classifier-free guidance; at 1 or less there is no guidance and each step takes half the
                time.
            height, width, num_inference_steps, num_images_per_prompt, eta, generator, latents, output_type,
                return_dict, callback, callback_steps: as in `VersatileDiffusionTextToImagePipeline`.

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
        problems = [*checks.check_prompts(prompt=prompt), *checks.check_images(image=image)]
        count = checks.num_prompts(prompt)
        if not problems and num_images(image) != count:
            problems.append(f"`image` has {num_images(image)} images for {count} prompt(s)")
        self._check(settings, problems, _check_strength(text_to_image_strength), prompts=count)

        unconditional = None
        if settings.guided:
            unconditional, _ = self._encode([""] * count, [UNCONDITIONAL_IMAGE] * count)
        embeds, lengths = self._encode([prompt] if isinstance(prompt, str) else prompt, image)
        return self._generate(
            with_unconditional(embeds, unconditional, num_images_per_prompt),
            settings,
            {"mix_ratio": paddle.to_tensor(float(text_to_image_strength)), "condition_lengths": lengths},
        )

    def _encode(self, prompts: list[str], images: Any) -> tuple[paddle.Tensor, tuple[int, int]]:
        """Embeddings of prompts followed by those of images, [B, L1 + L2, D], and their lengths (L1, L2)."""
        parts = (
            encode_prompts(self.tokenizer, self.text_encoder, prompts),
            encode_images(self.image_feature_extractor, self.image_encoder, images),
        )
        return paddle.concat(parts, axis=1), tuple(part.shape[1] for part in parts)

    def check_inputs(self, prompt: Any, image: Any, height: Any, width: Any, callback_steps: Any) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            checks.check_prompts(prompt=prompt),
            checks.check_images(image=image),
            checks.check_size(height=height, width=width),
            checks.check_counts(callback_steps=callback_steps),
        )


def _check_strength(text_to_image_strength: Any) -> list[str]:
    problems = checks.check_numbers(text_to_image_strength=text_to_image_strength)
    if not problems and not 0 <= text_to_image_strength <= 1:
        problems.append(f"`text_to_image_strength` must be between 0 and 1, not {text_to_image_strength!r}")
    return problems
