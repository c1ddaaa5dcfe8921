"""Variations of a picture: Stable Diffusion tuned to be guided by a picture's CLIP embedding instead of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.prompts import dtype_of
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import LatentPipelineMixin
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionImageVariationPipeline(LatentPipelineMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures like a picture.

    Args:
        vae: an `AutoencoderKL`, between pictures and latents.
        image_encoder: a `CLIPVisionModelWithProjection`.
        unet: a `UNet2DConditionModel` that attends to picture embeddings, such as lambdalabs' Image Variations.
        scheduler: any scheduler for the UNet's noise schedule.
        safety_checker: a `StableDiffusionSafetyChecker` that blacks out objectionable pictures, or None.
        feature_extractor: a `CLIPImageProcessor`, which prepares pictures for the encoder and the checker.
        requires_safety_checker: whether to warn when there is no safety checker.
    """

    _optional_components = ("safety_checker",)
    _mended_settings = ()

    def __init__(
        self,
        vae: Any,
        image_encoder: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any,
        feature_extractor: Any,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        self._set_up(
            requires_safety_checker,
            vae=vae,
            image_encoder=image_encoder,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )

    @inference
    def __call__(
        self,
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor,
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
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Paint variations of the pictures.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            image: the pictures, or a tensor [B, 3, h, w] as the feature extractor makes it.
            height, width: pixels, multiples of 8, of the result; by default what the UNet was trained for.
            num_images_per_prompt: variations of each picture.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        own = self._size(None, None, latents)
        height, width = height or own[0], width or own[1]
        channels, count = self.unet.config.in_channels, _count(image)
        self.check_inputs(
            image,
            height,
            width,
            callback_steps,
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(None, (), (), callback, None),
            checks.check_noise(
                latents, generator, count, num_images_per_prompt, channels, (height, width), self.vae_scale_factor
            ),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale)

        # 1. the picture's embedding; with guidance, an empty one comes first in the batch
        image_embeds = self._encode_image(image, num_images_per_prompt)  # [2B or B, 1, D]

        # 2. the steps, and the noise to start from
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        loop = Loop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.watch.note("the image encoder", image_embeds)
        latents = self.prepare_latents(
            count * num_images_per_prompt, channels, height, width, image_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        for i, t in loop.steps():
            noise_pred = self._predict(latents, t, image_embeds)  # [2B or B, C, h, w]
            noise_pred = self._guide(noise_pred)  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode, judge
        pictures, has_nsfw_concept = self._pictures(latents, output_type, image_embeds.dtype, loop.watch)
        return self._output(pictures, has_nsfw_concept, return_dict)

    def check_inputs(self, image: Any, height: Any, width: Any, callback_steps: Any, *more_findings: list[str]) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        unfit = []
        if not _count(image):
            unfit = [
                "`image` must be a PIL picture, a list of them, or a Paddle tensor [pictures, 3, height, width], "
                f"not {type(image).__name__}"
            ]
        checks.refuse(
            self, unfit, checks.check_size(height, width), checks.check_counts(callback_steps=callback_steps),
            *more_findings,
        )  # fmt: skip

    def _encode_image(self, image: Any, num_images_per_prompt: int) -> paddle.Tensor:
        """Embeddings of the pictures, [B, 1, D], or [2B, 1, D] with guidance, where zeros stand for no picture."""
        if not isinstance(image, paddle.Tensor):
            image = paddle.to_tensor(self.feature_extractor(images=image, return_tensors="np")["pixel_values"])
        embeds = self.image_encoder(image.astype(dtype_of(self.image_encoder))).image_embeds[:, None]  # [N, 1, D]
        embeds = embeds.repeat_interleave(num_images_per_prompt, axis=0)
        if self.do_classifier_free_guidance:
            return paddle.concat([paddle.zeros_like(embeds), embeds])
        return embeds


def _count(image: Any) -> int | None:
    """How many pictures there are; None if these are not pictures."""
    if isinstance(image, PIL.Image.Image):
        return 1
    if isinstance(image, list):
        return len(image) if image and all(isinstance(one, PIL.Image.Image) for one in image) else None
    return image.shape[0] if isinstance(image, paddle.Tensor) and image.ndim == 4 else None
