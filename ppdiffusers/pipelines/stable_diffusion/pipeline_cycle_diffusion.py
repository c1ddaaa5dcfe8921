"""Editing a picture by two prompts: what it shows, and what it shall show.

Wu and De la Torre, "Unifying Diffusion Models' Latent Space, with Applications to CycleDiffusion and Guidance"
(arXiv 2210.05559), algorithm 1: the noise with which DDIM would paint the picture from its own prompt is found step by
step (the DPM-Encoder) and used again to paint the other prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.from_picture import FromPictureAloneMixin, noised_image_latents
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.schedulers.scheduling_ddim import DDIMScheduler, ddim_variance
from ppdiffusers.utils.torch_utils import as_generator, randn_tensor


class CycleDiffusionPipeline(FromPictureAloneMixin, DiffusionPipeline):
    """Pictures changed from what one prompt says to what another says; with a `DDIMScheduler`."""

    _mended_settings = ("steps_offset",)

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        source_prompt: str | list[str],
        image: PipelineImageInput | None = None,
        strength: float = 0.8,
        num_inference_steps: int | None = 50,
        guidance_scale: float | None = 7.5,
        source_guidance_scale: float | None = 1,
        num_images_per_prompt: int | None = 1,
        eta: float | None = 0.1,
        generator: Any = None,
        prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Change pictures from the source prompts to the prompts.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            prompt: what the result shall show.
            source_prompt: what the picture shows, a text for each prompt.
            image: the pictures to change, or their latents [N, C, h, w]; N divides the number of pictures painted.
            strength: how far to go, 0 to 1: this share of the steps is taken.
            source_guidance_scale: guidance by the source prompt; it acts only if `guidance_scale` is above 1.
            eta: share of noise in each DDIM step, above 0: it carries what is kept of the picture.
            prompt_embeds: [B, L, D] instead of `prompt`, which is None then.
            generator: draws the picture's latents, the noise on them, then that of the source's steps.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        batch_size = checks.batch_of(prompt, prompt_embeds)
        self.check_inputs(
            prompt,
            strength,
            callback_steps,
            None,
            prompt_embeds,
            None,
            None,
            _check_scheduler(self.scheduler),
            _check_source(source_prompt, batch_size),
            checks.check_pictures(image=image),
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                guidance_scale=guidance_scale,
                source_guidance_scale=source_guidance_scale,
            ),
            _check_eta(eta),
            checks.check_callbacks(None, (), (), callback, callback_steps),
            checks.check_generators_of(generator, batch_size, num_images_per_prompt),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale, 0.0, clip_skip, cross_attention_kwargs)

        # 1. the steps that are left, both prompts
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
        encoding = (clip_skip, prompt_syntax, long_prompts)
        prompt_embeds, _ = self._embed(prompt, num_images_per_prompt, None, prompt_embeds, None, *encoding)
        source_embeds, _ = self._embed(source_prompt, num_images_per_prompt, None, None, None, *encoding)
        loop = Loop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)

        # 2. the picture, noised to the first of these steps: both paths start there
        latents, clean_latents = self.prepare_latents(
            self.image_processor.preprocess(image),
            timesteps[:1].repeat(batch_size * num_images_per_prompt),
            batch_size,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w] each
        loop.watch.note("the VAE's encoder", clean_latents)
        source_latents = latents

        # 3. denoise: the source's path ends at the picture, and its noise moves the other one
        for i, t in loop.steps():
            noise_pred = self._guide(self._predict(latents, t, prompt_embeds))  # [B, C, h, w]
            source_noise_pred = self._predict(source_latents, t, source_embeds)
            source_noise_pred = self._guide(source_noise_pred, source_guidance_scale)  # [B, C, h, w]
            prev_source_latents = posterior_sample(self.scheduler, source_latents, t, clean_latents, eta, generator)
            noise = used_noise(self.scheduler, prev_source_latents, source_latents, t, source_noise_pred, eta)
            source_latents = prev_source_latents
            latents = self.scheduler.step(noise_pred, t, latents, eta, variance_noise=noise, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode, judge
        picture, has_nsfw_concept = self._pictures(latents, output_type, prompt_embeds.dtype, loop.watch)
        return self._output(picture, has_nsfw_concept, return_dict)

    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: np.ndarray,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: Any,
        device: Any,
        generator: Any = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(latents noised to `timestep` [B], clean latents), [B, C, h, w] each, of pictures [N, 3, H, W]."""
        count = batch_size * num_images_per_prompt
        return noised_image_latents(self.scheduler, self.vae, image, timestep, count, dtype, generator)


def posterior_sample(
    scheduler: DDIMScheduler, latents: paddle.Tensor, t: int, clean: paddle.Tensor, eta: float, generator: Any
) -> paddle.Tensor:
    """x_{t-1} drawn from q(x_{t-1} | x_t, x_0) of DDIM (arXiv 2010.02502, equation 7): a path that ends at the picture.

    Args:
        latents: x_t, [B, C, h, w].
        clean: x_0, [B, C, h, w].
    """
    alpha_bar, alpha_bar_prev, std, prev_t = _coefficients(scheduler, t, eta)
    if prev_t <= 0:
        return clean
    eps = (latents - float(alpha_bar**0.5) * clean) / float((1 - alpha_bar) ** 0.5)
    mean = float(alpha_bar_prev**0.5) * clean + float((1 - alpha_bar_prev - std**2) ** 0.5) * eps
    return mean + float(std) * randn_tensor(clean.shape, generator=generator, dtype=clean.dtype)


def used_noise(
    scheduler: DDIMScheduler,
    prev_latents: paddle.Tensor,
    latents: paddle.Tensor,
    t: int,
    noise_pred: paddle.Tensor,
    eta: float,
) -> paddle.Tensor:
    """The noise with which DDIM leads from x_t to the given x_{t-1}, [B, C, h, w]; zero in a step without any."""
    nothing = paddle.zeros_like(latents)
    std = _coefficients(scheduler, t, eta)[2]
    if std == 0:
        return nothing
    mean = scheduler.step(noise_pred, t, latents, eta, variance_noise=nothing, return_dict=False)[0]
    return (prev_latents - mean) / float(std)


def _coefficients(scheduler: DDIMScheduler, t: int, eta: float) -> tuple[np.float32, np.float32, np.float32, int]:
    """(alpha_bar_t, alpha_bar_{t-1}, sigma_t, t-1) in the notation of equation 12, where t-1 is one step on."""
    prev_t = int(t) - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alpha_bar = scheduler.alpha_bar(t)
    alpha_bar_prev = scheduler.alpha_bar(prev_t, scheduler.final_alpha_cumprod)
    return alpha_bar, alpha_bar_prev, eta * ddim_variance(alpha_bar, alpha_bar_prev) ** 0.5, prev_t


def _check_scheduler(scheduler: Any) -> list[str]:
    if isinstance(scheduler, DDIMScheduler):
        return []
    remedy = "`pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)`"
    return [f"the scheduler must be a DDIMScheduler, not {type(scheduler).__name__}: {remedy}"]


def _check_source(source_prompt: Any, batch_size: int | None) -> list[str]:
    problems = checks.check_texts("source_prompt", source_prompt)
    if source_prompt is None:
        return ["`source_prompt` is needed: what the picture shows"]
    count = checks.batch_of(source_prompt, None)
    if not problems and batch_size is not None and count != batch_size:
        problems.append(f"`source_prompt` has {count} text(s) for {batch_size} prompt(s)")
    return problems


def _check_eta(eta: Any) -> list[str]:
    problems = checks.check_numbers(eta=eta)
    return problems or ([] if 0 < eta <= 1 else [f"`eta` must lie above 0, up to 1, not {eta!r}: the noise is found"])
