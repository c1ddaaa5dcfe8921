"""Small picture and text to a picture four times as wide and high: Stable Diffusion 2's upscaler.

The UNet sees the noisy latents beside the small picture, which is noised too, and is told how much (Ho et al.,
"Cascaded Diffusion Models for High Fidelity Image Generation", arXiv 2106.15282, section 4.2: noise conditioning
augmentation). The latents have the size of the small picture, and the VAE's decoder makes four pixels of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.images import repeat_to
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.published import mend_upscaler_vae
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin
from ppdiffusers.pipelines.stages.upscaling import UpscalerMixin
from ppdiffusers.utils.torch_utils import as_generator, randn_tensor


class StableDiffusionUpscalePipeline(UpscalerMixin, TextGuidedMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures four times as wide and high as the given ones; other components are those of `TextGuidedMixin`.

    Args:
        unet: a `UNet2DConditionModel` with a class embedding, which takes the noise level as its class.
        low_res_scheduler: a `DDPMScheduler` that noises the small picture.
        safety_checker, feature_extractor: of DeepFloyd IF, whose last stage this pipeline is, or None.
        watermarker: marks finished PIL pictures by its `apply_watermark(pictures)`, or None.
        max_noise_level: the most noise that the UNet was trained with on the small picture.
    """

    _optional_components = ("watermarker", "safety_checker", "feature_extractor")

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        low_res_scheduler: Any,
        scheduler: Any,
        safety_checker: Any = None,
        feature_extractor: Any = None,
        watermarker: Any = None,
        max_noise_level: int = 350,
    ):
        DiffusionPipeline.__init__(self)
        mend_upscaler_vae(vae)
        self._register(
            resample="bicubic",
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            low_res_scheduler=low_res_scheduler,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            watermarker=watermarker,
        )
        self.register_to_config(max_noise_level=max_noise_level)

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 75,
        guidance_scale: float = 9.0,
        noise_level: int = 20,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Paint the pictures larger.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            prompt: what is to be seen.
            image: the small pictures; as many as there are prompts, or one for all of them. Their sizes are cut to
                multiples of 4, and the results are four times as large.
            noise_level: timestep up to which the small picture is noised: 0 to `max_noise_level`. More leaves more to
                the text.
            generator: draws the noise on the small picture first, then the latents.
            latents: standard normal noise [B, C, H, W] of the small picture's height and width.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        batch_size = checks.batch_of(prompt, prompt_embeds)
        self.check_inputs(
            prompt,
            image,
            noise_level,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(None, (), (), callback, None),
            checks.check_generators_of(generator, batch_size, num_images_per_prompt),
        )
        batch_size = batch_size * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale, 0.0, clip_skip, cross_attention_kwargs)

        # 1. the steps; the small picture, noised; the noise to start from has its size
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        channels = self.vae.config.latent_channels
        image = self.image_processor.preprocess(image)  # [N, 3, H, W]
        checks.refuse(self, checks.check_channels(image, self.unet.config.in_channels - channels))
        image = self._noised(image, noise_level, generator)
        image = repeat_to(image, batch_size)  # [B, 3, H, W]
        latents = self.prepare_latents(
            batch_size, channels, *image.shape[2:], image.dtype, self.device, generator, latents
        )  # [B, C, H, W]

        # 2. the prompt, and what the UNet sees besides: twice with guidance
        prompt_embeds, _ = self._embed(
            prompt,
            num_images_per_prompt,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            prompt_syntax,
            long_prompts,
        )  # [2B or B, L, D]
        image = repeat_to(image, prompt_embeds.shape[0])
        class_labels = paddle.full([prompt_embeds.shape[0]], noise_level, dtype="int64")
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        loop = Loop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)
        for i, t in loop.steps():
            noise_pred = self._predict(latents, t, prompt_embeds, seen=(image,), class_labels=class_labels)
            noise_pred = self._guide(noise_pred)  # [B, C, H, W]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode to four times the size, judge, mark
        pictures, has_nsfw_concept = self._pictures(latents, output_type, prompt_embeds.dtype, loop.watch)
        if output_type == "pil" and self.watermarker is not None:
            pictures = self.watermarker.apply_watermark(pictures)
        return self._output(pictures, has_nsfw_concept, return_dict)

    def _noised(self, image: paddle.Tensor, noise_level: int, generator: Any) -> paddle.Tensor:
        """Pictures [N, 3, H, W] in the UNet's dtype, noised to the timestep `noise_level`."""
        image = image.astype(self.unet.dtype)
        # with one generator for each painted picture, the first ones draw for the pictures given
        generator = generator[: image.shape[0]] if isinstance(generator, list) else generator
        noise = randn_tensor(image.shape, generator=generator, dtype=image.dtype)
        return self.low_res_scheduler.add_noise(image, noise, np.array([noise_level]))

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        noise_level: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        *more_findings: list[str],
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        most = self.config.max_noise_level
        level = []
        if not checks.is_whole(noise_level) or not 0 <= noise_level <= most:
            level = [f"`noise_level` must be a whole number from 0 to {most} (`max_noise_level`), not {noise_level!r}"]
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            checks.check_pictures(image=image),
            level,
            checks.check_callbacks(None, (), (), None, callback_steps),
            *more_findings,
        )

    def run_safety_checker(
        self, image: Any, device: Any, dtype: Any
    ) -> tuple[Any, list[bool] | None, list[bool] | None]:
        """Pictures, flagged ones black, their flags, and which have a watermark (None if the checker does not say)."""
        image, flags, *watermarks = super().run_safety_checker(image, device, dtype)
        return image, flags, watermarks[0] if watermarks else None
