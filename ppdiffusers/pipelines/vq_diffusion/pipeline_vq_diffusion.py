"""Text to image. Gu et al., "Vector Quantized Diffusion Model for Text-to-Image Synthesis", arXiv 2111.14822."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.guidance import classifier_free_guidance
from ppdiffusers.pipelines.stages.latents import decode
from ppdiffusers.pipelines.stages.prompt_encoders import PromptEncoder
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.vq_diffusion.learned_embeddings import (
    LearnedClassifierFreeSamplingEmbeddings as LearnedClassifierFreeSamplingEmbeddings,
)
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.vq_model import VQModel
    from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel
    from ppdiffusers.schedulers.scheduling_vq_diffusion import VQDiffusionScheduler
    from ppdiffusers.transformers import CLIPTextModel, CLIPTokenizer

_MIN_LOG_P = -70.0  # used instead of log(0)


class VQDiffusionPipeline(DiffusionPipeline):
    """Generate images from prompts by denoising a grid of codes that is masked initially.

    Args:
        vqvae: decodes codes to images.
        text_encoder, tokenizer: encode prompts.
        transformer: a `Transformer2DModel` over codes, which predicts log p(x_0).
        scheduler: its `num_vec_classes` counts the codes and the mask.
        learned_classifier_free_sampling_embeddings: the unconditional embeddings.
    """

    vqvae: VQModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    transformer: Transformer2DModel
    scheduler: VQDiffusionScheduler
    learned_classifier_free_sampling_embeddings: LearnedClassifierFreeSamplingEmbeddings

    def __init__(
        self,
        vqvae: VQModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        transformer: Transformer2DModel,
        scheduler: VQDiffusionScheduler,
        learned_classifier_free_sampling_embeddings: LearnedClassifierFreeSamplingEmbeddings,
    ):
        super().__init__()
        self.register_modules(
            vqvae=vqvae,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            learned_classifier_free_sampling_embeddings=learned_classifier_free_sampling_embeddings,
        )
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 100,
        guidance_scale: float = 5.0,
        truncation_rate: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Generate images from prompts.

        Args:
            prompt: `num_images_per_prompt` images are generated for each string.
            num_inference_steps: up to the number of training steps (100).
            guidance_scale: classifier-free guidance; at 1 or less there is no guidance and each step takes half the
                time.
            truncation_rate: codes are sampled from the most probable ones, whose cumulative probability is at most
                this rate (and always from the most probable one); 1 keeps all.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            latents: initial codes [B, pixels], integers; by default all are the mask.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent"
                (the codes [B, pixels]).
            return_dict: if False, return `(images,)`.
            callback, callback_steps: called as `f(index, timestep, codes)` every `callback_steps` steps.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(
            self,
            checks.check_prompts(prompt=prompt),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                truncation_rate=truncation_rate,
            ),
            checks.check_callbacks(callback=callback, callback_steps=callback_steps),
            checks.check_generators_of(generator, checks.num_prompts(prompt), num_images_per_prompt),
            self._check_codes(latents, checks.num_prompts(prompt), num_images_per_prompt),
            self._check_counts(),
        )
        generator, guided = as_generator(generator), guidance_scale > 1.0
        prompt_embeds = self._encode_prompt(prompt, num_images_per_prompt, guided)  # [2B or B, L, D]
        batch_size = prompt_embeds.shape[0] // (2 if guided else 1)
        mask = self.transformer.num_vector_embeds - 1
        if latents is None:
            latents = paddle.full([batch_size, self.transformer.num_latent_pixels], mask, dtype="int64")
        elif isinstance(latents, np.ndarray):
            latents = paddle.to_tensor(latents)
        sample = latents.astype("int64")  # x_T, [B, N]
        self.scheduler.set_timesteps(num_inference_steps)

        finite = FiniteCheck()
        for i, t in enumerate(self.progress_bar(host_timesteps(self.scheduler))):
            model_input = paddle.concat([sample] * 2) if guided else sample
            # log p(x_0 | x_t, prompt), [2B or B, codes, N]
            log_p_x_0 = self.transformer(model_input, encoder_hidden_states=prompt_embeds, timestep=t).sample
            if guided:
                log_p_x_0 = classifier_free_guidance(log_p_x_0, guidance_scale)
                log_p_x_0 = log_p_x_0 - log_p_x_0.logsumexp(axis=1, keepdim=True)
            finite.note(f"denoising at timestep {t}", log_p_x_0)
            log_p_x_0 = self.truncate(log_p_x_0, truncation_rate).clip(min=_MIN_LOG_P)
            sample = self.scheduler.step(log_p_x_0, t, sample, generator=generator).prev_sample  # x_{t-1}
            if callback is not None and i % callback_steps == 0:
                callback(i, t, sample)

        images = sample if output_type == "latent" else self._decode(sample, finite)
        finite.warn()
        images = self.image_processor.postprocess(images, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def truncate(self, log_p_x_0: paddle.Tensor, truncation_rate: float) -> paddle.Tensor:
        """Set log p of codes [B, codes, N] to -inf, if more probable ones have a cumulative probability of at least
        `truncation_rate`."""
        if truncation_rate >= 1:
            return log_p_x_0
        ranked = log_p_x_0.sort(axis=1, descending=True)
        cumulative = ranked.exp().cumsum(axis=1)[:, :-1]  # of the codes before the second, the third, ...
        last_kept = (cumulative < truncation_rate).astype("int64").sum(axis=1, keepdim=True)  # its rank, [B, 1, N]
        least = paddle.take_along_axis(ranked, last_kept, axis=1)
        return paddle.where(log_p_x_0 >= least, log_p_x_0, paddle.full_like(log_p_x_0, -float("inf")))

    def _encode_prompt(self, prompt: str | list[str], num_images_per_prompt: int, guided: bool) -> paddle.Tensor:
        """Normalised embeddings [2B or B, L, D], with guidance the unconditional ones first."""
        prompts = [prompt] if isinstance(prompt, str) else prompt
        embeds = self._encode_normalised(prompts).repeat_interleave(num_images_per_prompt, axis=0)
        if not guided:
            return embeds
        learned = self.learned_classifier_free_sampling_embeddings
        count = len(prompts)
        unconditional = learned(count) if learned.learnable else self._encode_normalised([""] * count)
        unconditional = unconditional.astype(embeds.dtype).repeat_interleave(num_images_per_prompt, axis=0)
        return paddle.concat([unconditional, embeds])

    def _encode_normalised(self, prompts: list[str]) -> paddle.Tensor:
        embeds = PromptEncoder(self.tokenizer, self.text_encoder).encode(prompts, warn=True)
        return embeds / embeds.norm(axis=-1, keepdim=True)

    def _decode(self, codes: paddle.Tensor, finite: FiniteCheck) -> paddle.Tensor:
        """Decode codes [B, N] to images [B, 3, H, W]."""
        grid = (codes.shape[0], self.transformer.height, self.transformer.width, self.vqvae.config.vq_embed_dim)
        entries = self.vqvae.quantize.get_codebook_entry(codes, grid)  # [B, D, h, w]
        return decode(self.vqvae, entries, finite, force_not_quantize=True)

    def _check_counts(self) -> list[str]:
        """All components use the same codes; the autoencoder does not count the mask."""
        counts = {
            "the transformer's `num_vector_embeds`": self.transformer.num_vector_embeds,
            "the scheduler's `num_vec_classes`": self.scheduler.config.num_vec_classes,
            "the autoencoder's `num_vq_embeddings` and the mask": self.vqvae.config.num_vq_embeddings + 1,
        }
        if len(set(counts.values())) == 1:
            return []
        return [
            "the components have different numbers of codes: " + ", ".join(f"{name}: {n}" for name, n in counts.items())
        ]

    def _check_codes(self, latents: Any, prompts: int | None, num_images_per_prompt: Any) -> list[str]:
        codes = self.transformer.num_vector_embeds
        known = prompts is not None and checks.is_integer(num_images_per_prompt)
        batch = prompts * num_images_per_prompt if known else None
        problems = checks.check_latents(latents, (batch, self.transformer.num_latent_pixels))
        if latents is not None and not problems:
            values = np.asarray(latents)
            if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= codes:
                problems.append(f"`latents` must be codes, integers from 0 to {codes - 1} (the mask)")
        return problems
