"""What the pipelines of Stable unCLIP share: noised image embeddings, and the denoising that they condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.models.blocks.embeddings import get_timestep_embedding
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import GuidedPrediction, StepCallbacks
from ppdiffusers.pipelines.stages.latents import decode_latents
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from ppdiffusers.schedulers.common.types import Scheduler


class StableUnCLIPBase(StableDiffusionBase):
    """Stable Diffusion 2 whose UNet is conditioned on a CLIP image embedding too, as its class label.

    Other components are those of `StableDiffusionBase`.

    Args:
        image_normalizer: mean and standard deviation of the image embeddings.
        image_noising_scheduler: adds noise to them.
    """

    _optional_components = ()

    image_normalizer: StableUnCLIPImageNormalizer
    image_noising_scheduler: Scheduler

    def _register_components(self, **components: Any) -> None:
        DiffusionPipeline.__init__(self)
        self._register_with_vae(**components)

    def noise_image_embeddings(
        self,
        image_embeds: paddle.Tensor,
        noise_level: int,
        noise: paddle.Tensor | None = None,
        generator: Generator = None,
    ) -> paddle.Tensor:
        """Add noise to image embeddings [B, D] and append the embedding of the noise level: [B, 2D].

        Args:
            noise_level: timestep of `image_noising_scheduler`; a higher one gives more varied images.
            noise: [B, D], used instead of drawing it.
        """
        if noise is None:
            noise = randn_tensor(image_embeds.shape, generator=generator, dtype=image_embeds.dtype)
        level = paddle.full([image_embeds.shape[0]], int(noise_level), dtype="int64")
        noisy = self.image_noising_scheduler.add_noise(self.image_normalizer.scale(image_embeds), noise, level)
        noisy = self.image_normalizer.unscale(noisy)
        embedded = get_timestep_embedding(level, noisy.shape[-1], flip_sin_to_cos=True, downscale_freq_shift=0)
        return paddle.concat([noisy, embedded.astype(noisy.dtype)], axis=1)

    def _with_unconditional_image(self, image_embeds: paddle.Tensor) -> paddle.Tensor:
        """With guidance, put zeros (the unconditional embeddings) before image embeddings [B, 2D]."""
        if not self.do_classifier_free_guidance:
            return image_embeds
        return paddle.concat([paddle.zeros_like(image_embeds), image_embeds])

    def _denoise(
        self,
        image_embeds: paddle.Tensor,
        prompt_embeds: paddle.Tensor,
        latents: paddle.Tensor,
        timesteps: np.ndarray,
        num_inference_steps: int,
        callbacks: StepCallbacks,
        extra_step_kwargs: dict[str, Any],
        output_type: str,
        return_dict: bool,
    ) -> ImagePipelineOutput | tuple:
        """Denoise latents [B, C, h, w] conditioned on prompts and images, and decode them."""
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        loop.finite.note("the image embeddings", image_embeds)
        predict = GuidedPrediction(
            self._denoiser(latents), self._guide, lambda index, t, tensors: {"class_labels": image_embeds}
        )
        tensors = loop.run(predict, {"latents": latents, "prompt_embeds": prompt_embeds}, extra_step_kwargs)
        image = tensors["latents"]
        if output_type != "latent":
            image = decode_latents(self.vae, image, loop.finite)  # [B, 3, H, W]
        loop.finite.warn()
        image = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=image) if return_dict else (image,)

    def _timesteps(self, num_inference_steps: int) -> tuple[np.ndarray, int]:
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        self._num_timesteps = len(timesteps)
        return timesteps, num_inference_steps

    def _check_noise_level(self, noise_level: Any) -> list[str]:
        last = self.image_noising_scheduler.config.num_train_timesteps - 1
        if checks.is_integer(noise_level) and 0 <= noise_level <= last:
            return []
        return [f"`noise_level` must be a whole number from 0 to {last}, not {noise_level!r}"]
