"""What pipelines of latent consistency models share: checks, and multistep consistency sampling."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import DenoisingLoop, UNetDenoiser
from ppdiffusers.schedulers.scheduling_lcm import LCMScheduler
from ppdiffusers.utils.torch_utils import Generator


class LatentConsistencyBase(StableDiffusionBase, IPAdapterMixin):
    """Components of `StableDiffusionBase`, with a UNet that takes the guidance scale as an input and `LCMScheduler`.

    A step predicts once: guidance is part of the distilled UNet, with the unconditional embeddings of an empty prompt.
    There are therefore no negative prompts.
    """

    _corrected_settings: tuple[str, ...] = ()  # diffusers corrects none here
    _callback_tensor_inputs: tuple[str, ...] = ("latents", "denoised", "prompt_embeds", "w_embedding")
    scheduler: LCMScheduler

    @property
    def do_classifier_free_guidance(self) -> bool:
        """False: the UNet takes the guidance scale as an input."""
        return False

    def _check_components(self, *required: str) -> None:
        """Raise one InputError for missing components, and for those of other models."""
        checks.raise_problems(self, checks.check_components(self.components, *required))
        problems = []
        if not isinstance(self.scheduler, LCMScheduler):
            problems.append(f"the scheduler is {type(self.scheduler).__name__}, not LCMScheduler")
        if self.unet.config.time_cond_proj_dim is None:
            problems.append(
                "the UNet does not take a guidance scale (`time_cond_proj_dim` is None): use StableDiffusionPipeline, "
                "with LCMScheduler for an LCM-LoRA"
            )
        checks.raise_problems(self, problems)

    @staticmethod
    def _check_original_steps(original_inference_steps: Any) -> list[str]:
        if original_inference_steps is None:
            return []
        return checks.check_counts(original_inference_steps=original_inference_steps)

    def _denoise(
        self,
        loop: DenoisingLoop,
        latents: paddle.Tensor,
        prompt_embeds: paddle.Tensor,
        generator: Generator,
        added_cond_kwargs: dict[str, Any] | None,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Sample from noised latents [B, C, h, w] with embeddings [B, L, D] (Luo et al., algorithm 3).

        Returns:
            The clean latents [B, C, h, w] that the last step predicts, and the embeddings, which callbacks may replace.
        """
        w_embedding = self._timestep_cond(latents.shape[0], latents.dtype)  # [B, time_cond_proj_dim]
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            cross_attention_kwargs=self.cross_attention_kwargs,
            added_cond_kwargs=added_cond_kwargs,
        )
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, 0.0)
        denoised = latents
        for i, t in loop.steps():
            denoiser.timestep_cond = w_embedding
            model_pred = denoiser(latents, t, prompt_embeds)  # [B, C, h, w]
            latents, denoised = self.scheduler.step(model_pred, t, latents, **extra_step_kwargs, return_dict=False)
            latents, denoised, prompt_embeds, w_embedding = loop.end_step(
                i, t, latents=latents, denoised=denoised, prompt_embeds=prompt_embeds, w_embedding=w_embedding
            )
        return denoised, prompt_embeds
