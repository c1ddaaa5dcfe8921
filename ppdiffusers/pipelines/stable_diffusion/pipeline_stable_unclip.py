"""Text to image by way of a CLIP image embedding: Stable unCLIP with the prior of unCLIP (arXiv 2204.06125)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stable_diffusion.stable_unclip_base import StableUnCLIPBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, StepCallbacks, inference
from ppdiffusers.pipelines.stages.latents import initial_latents
from ppdiffusers.pipelines.stages.prior import encode_for_prior, predict_image_embedding
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptEncoder, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, step_kwargs
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.transformers.prior_transformer import PriorTransformer
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


class StableUnCLIPPipeline(StableUnCLIPBase):
    """Generate a CLIP image embedding for a prompt, and an image from both.

    Args:
        prior_tokenizer, prior_text_encoder: encode prompts for the prior.
        prior: denoises image embeddings.
        prior_scheduler: any scheduler for the noise schedule of the prior.
        image_normalizer, image_noising_scheduler: add noise to image embeddings.
        tokenizer, text_encoder, unet, scheduler, vae: those of Stable Diffusion 2.
    """

    prior_tokenizer: CLIPTokenizer
    prior_text_encoder: CLIPTextModelWithProjection
    prior: PriorTransformer
    prior_scheduler: Scheduler

    def __init__(
        self,
        prior_tokenizer: CLIPTokenizer,
        prior_text_encoder: CLIPTextModelWithProjection,
        prior: PriorTransformer,
        prior_scheduler: Scheduler,
        image_normalizer: StableUnCLIPImageNormalizer,
        image_noising_scheduler: Scheduler,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        vae: AutoencoderKL,
    ):
        self._register_components(
            prior_tokenizer=prior_tokenizer,
            prior_text_encoder=prior_text_encoder,
            prior=prior,
            prior_scheduler=prior_scheduler,
            image_normalizer=image_normalizer,
            image_noising_scheduler=image_noising_scheduler,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            unet=unet,
            scheduler=scheduler,
            vae=vae,
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 10.0,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        noise_level: int = 0,
        prior_num_inference_steps: int = 25,
        prior_guidance_scale: float = 4.0,
        prior_latents: paddle.Tensor | np.ndarray | None = None,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> ImagePipelineOutput | tuple:
        """Generate images from prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            prompt: required, since the prior encodes it; `prompt_embeds` cannot replace it.
            return_dict: if False, return `(images,)`.
            callback, callback_steps: called as `f(index, timestep, latents)`, with the embeddings [B, D] of the
                prior's steps, then with the latents.
            noise_level: noise added to the image embeddings, a timestep of `image_noising_scheduler`; a higher level
                gives more varied images.
            prior_num_inference_steps, prior_guidance_scale: steps and guidance of the prior.
            prior_latents: initial noise of the prior, [B, D].

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "prior", "unet", "vae", "scheduler"))
        callbacks = StepCallbacks(None, ("latents",), callback, callback_steps)
        height, width = self._size_of_each(height, width)
        channels, prompts = self.unet.config.in_channels, checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt=prompt,
                height=height,
                width=width,
                callback_steps=callback_steps,
                noise_level=noise_level,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            ["`prompt` is None, but the prior encodes it"] if prompt is None and prompt_embeds is not None else [],
            checks.check_counts(prior_num_inference_steps=prior_num_inference_steps),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=prompts,
                channels=channels,
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                prior_guidance_scale=prior_guidance_scale,
                eta=eta,
            ),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. image embeddings
        image_embeds = self._generate_embeddings(
            [prompt] if isinstance(prompt, str) else prompt,
            num_images_per_prompt,
            prior_num_inference_steps,
            prior_guidance_scale,
            eta,
            generator,
            prior_latents,
            callbacks,
        )  # [B, D]

        # 2. prompts, and the noised image embeddings
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
        embeds = conditioning.guided()  # [2B or B, L, D]
        image_embeds = self.noise_image_embeddings(image_embeds, noise_level, generator=generator)  # [B, 2D]

        # 3. latents
        timesteps, num_inference_steps = self._timesteps(num_inference_steps)
        shape = (batch_size, channels, height // self.vae_scale_factor, width // self.vae_scale_factor)
        latents = self.prepare_latents(shape, embeds.dtype, self.device, generator, latents, self.scheduler)
        return self._denoise(
            self._with_unconditional_image(image_embeds),
            embeds,
            latents,
            timesteps,
            num_inference_steps,
            callbacks,
            self.prepare_extra_step_kwargs(generator, eta),
            output_type,
            return_dict,
        )

    def _generate_embeddings(
        self,
        prompts: list[str],
        num_images_per_prompt: int,
        num_inference_steps: int,
        guidance_scale: float,
        eta: float,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None,
        callbacks: StepCallbacks,
    ) -> paddle.Tensor:
        """Generate CLIP image embeddings [B, D] for prompts."""
        encoder = PromptEncoder(self.prior_tokenizer, self.prior_text_encoder)
        encoded = encode_for_prior(encoder, prompts, warn=True).repeat(num_images_per_prompt)
        shape = (len(prompts) * num_images_per_prompt, self.prior.config.embedding_dim)
        scheduler = self.prior_scheduler
        timesteps, _ = retrieve_timesteps(scheduler, num_inference_steps)
        sample = self.prepare_latents(shape, encoded.embeds.dtype, self.device, generator, latents, scheduler)
        extra_step_kwargs = self.prepare_prior_extra_step_kwargs(generator, eta)
        if guidance_scale > 1.0:
            encoded = encoded.with_unconditional(encoder)
        for i, t in enumerate(self.progress_bar(timesteps)):
            model_input = scheduler.scale_model_input(sample, t)
            prediction = predict_image_embedding(self.prior, model_input, t, encoded, guidance_scale)
            sample = scheduler.step(prediction, t, sample, **extra_step_kwargs, return_dict=False)[0]
            if callbacks.callback is not None and i % (callbacks.callback_steps or 1) == 0:
                callbacks.callback(i, t, sample)
        return self.prior.post_process_latents(sample)

    def prepare_prior_extra_step_kwargs(self, generator: Generator, eta: float) -> dict[str, Any]:
        """Keyword arguments of the step of the prior's scheduler."""
        return step_kwargs(self.prior_scheduler, generator, eta)

    def prepare_latents(
        self,
        shape: tuple[int, ...],
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None,
        scheduler: Scheduler,
    ) -> paddle.Tensor:
        """Initial noise of this shape, drawn or given, times the scheduler's first sigma.

        Raises:
            InputError: given latents have another shape.
        """
        if latents is not None and tuple(latents.shape) != tuple(shape):
            raise InputError(f"The latents have shape {tuple(latents.shape)}.", expected=f"{tuple(shape)}")
        return initial_latents(shape, scheduler.init_noise_sigma, dtype, generator, latents)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        noise_level: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                callback_steps=callback_steps,
            ),
            checks.check_size(height=height, width=width),
            self._check_noise_level(noise_level),
        )
