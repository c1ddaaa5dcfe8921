"""Editing of an image by two prompts: one that describes the image, and one that describes the result.

Wu and De la Torre, "Unifying Diffusion Models' Latent Space, with Applications to CycleDiffusion and Guidance"
(arXiv 2210.05559), algorithm 1: each step computes the noise with which DDIM generates the image from its own prompt
(the DPM-Encoder), and uses it to denoise for the other prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.img2img import noised_image_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.schedulers.scheduling_ddim import DDIMScheduler, ddim_variance
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer


class CycleDiffusionPipeline(Img2ImgBase):
    """Edit images by a source prompt and a prompt; requires a `DDIMScheduler`.

    The components are those of `StableDiffusionBase` without the image encoder.
    """

    _optional_components = ("safety_checker", "feature_extractor")
    _corrected_settings = ("steps_offset",)

    scheduler: DDIMScheduler

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler,
        safety_checker: StableDiffusionSafetyChecker | None,
        feature_extractor: CLIPImageProcessor | None,
        requires_safety_checker: bool = True,
    ):
        DiffusionPipeline.__init__(self)
        self._register(
            requires_safety_checker,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )

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
        generator: Generator = None,
        prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Edit images from the source prompts to the prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            prompt: describes the result.
            source_prompt: describes the image; one string for each prompt.
            image: images to edit, or their latents [N, C, h, w]; the number of generated images is a multiple of N.
            strength: fraction of the steps to run, 0 to 1; more changes the image more.
            source_guidance_scale: guidance by the source prompt; it has no effect unless `guidance_scale` exceeds 1.
            eta: noise of each DDIM step, above 0: this noise preserves what both prompts have in common.
            prompt_embeds: [B, L, D], used instead of `prompt`, which is then None.
            generator: draws the latents of the image, the noise, then that of the source's steps.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(self.check_inputs, prompt, strength, callback_steps, prompt_embeds=prompt_embeds),
            _check_scheduler(self.scheduler),
            _check_source_prompt(source_prompt, prompts),
            checks.check_images(image=image),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                source_guidance_scale=source_guidance_scale,
            ),
            _check_eta(eta),
            checks.check_callbacks(callback=callback),
            checks.check_generators_of(generator, prompts, num_images_per_prompt),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. remaining timesteps, both prompts
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
        settings: dict[str, Any] = {
            "num_images_per_prompt": num_images_per_prompt,
            "clip_skip": clip_skip,
            "prompt_syntax": prompt_syntax,
            "long_prompts": long_prompts,
        }
        prompt_embeds = self._conditioning(prompt=prompt, prompt_embeds=prompt_embeds, **settings).guided()
        source_embeds = self._conditioning(prompt=source_prompt, **settings).guided()  # [2B or B, L, D]
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the text encoder", prompt_embeds)

        # 2. latents of the image, noised to the first of these timesteps: both trajectories start there
        latents, clean_latents = self.prepare_latents(
            self._preprocess(image),  # [N, 3, H, W]
            first_timestep(timesteps, batch_size),
            prompts,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w] each
        loop.finite.note("the VAE's encoder", clean_latents)
        source_latents = latents

        # 3. denoise: the source's trajectory ends at the image, and its noise is used for the other one
        denoiser = UNetDenoiser(self.unet, self.scheduler, cross_attention_kwargs=cross_attention_kwargs)
        for i, t in loop.steps():
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds))  # [B, C, h, w]
            source_noise_pred = denoiser(source_latents, t, source_embeds)
            source_noise_pred = self._guide(source_noise_pred, source_guidance_scale)  # [B, C, h, w]
            prev_source_latents = posterior_sample(self.scheduler, source_latents, t, clean_latents, eta, generator)
            noise = compute_noise(self.scheduler, prev_source_latents, source_latents, t, source_noise_pred, eta)
            source_latents = prev_source_latents
            latents = self.scheduler.step(noise_pred, t, latents, eta, variance_noise=noise, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode and run the safety checker
        image, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(image, has_nsfw_concept, return_dict)

    @device_is_optional
    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(latents noised to `timestep` [B], clean latents), [B, C, h, w] each, of images [N, 3, H, W]."""
        return noised_image_latents(
            self.scheduler,
            self.vae,
            image=image,
            timestep=timestep,
            batch_size=batch_size * num_images_per_prompt,
            dtype=dtype,
            generator=generator,
        )


def posterior_sample(
    scheduler: DDIMScheduler, latents: paddle.Tensor, t: int, clean: paddle.Tensor, eta: float, generator: Generator
) -> paddle.Tensor:
    """Sample x_{t-1} from q(x_{t-1} | x_t, x_0) of DDIM (arXiv 2010.02502, equation 7): it leads to the image.

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


def compute_noise(
    scheduler: DDIMScheduler,
    prev_latents: paddle.Tensor,
    latents: paddle.Tensor,
    t: int,
    noise_pred: paddle.Tensor,
    eta: float,
) -> paddle.Tensor:
    """The noise with which DDIM steps from x_t to the given x_{t-1}, [B, C, h, w]; zero for a step without noise."""
    zeros = paddle.zeros_like(latents)
    std = _coefficients(scheduler, t, eta)[2]
    if std == 0:
        return zeros
    mean = scheduler.step(noise_pred, t, latents, eta, variance_noise=zeros, return_dict=False)[0]
    return (prev_latents - mean) / float(std)


def _coefficients(scheduler: DDIMScheduler, t: int, eta: float) -> tuple[np.float32, np.float32, np.float32, int]:
    """(alpha_bar_t, alpha_bar_{t-1}, sigma_t, t-1) in the notation of equation 12, where t-1 is the next timestep."""
    prev_t = int(t) - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alpha_bar = scheduler.alpha_bar(t)
    alpha_bar_prev = scheduler.alpha_bar(prev_t, scheduler.host_final_alpha_cumprod)
    return alpha_bar, alpha_bar_prev, eta * ddim_variance(alpha_bar, alpha_bar_prev) ** 0.5, prev_t


def _check_scheduler(scheduler: Scheduler) -> list[str]:
    if isinstance(scheduler, DDIMScheduler):
        return []
    remedy = "`pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)`"
    return [f"the scheduler must be a DDIMScheduler, not {type(scheduler).__name__}: {remedy}"]


def _check_source_prompt(source_prompt: Any, prompts: int | None) -> list[str]:
    if source_prompt is None:
        return ["`source_prompt` is required: it describes the image"]
    problems = checks.check_strings("source_prompt", source_prompt)
    count = checks.num_prompts(source_prompt)
    if not problems and prompts is not None and count != prompts:
        problems.append(f"`source_prompt` has {count} entries for {prompts} prompt(s)")
    return problems


def _check_eta(eta: Any) -> list[str]:
    problems = checks.check_numbers(eta=eta)
    return problems or ([] if 0 < eta <= 1 else [f"`eta` must be above 0 and at most 1, not {eta!r}"])
