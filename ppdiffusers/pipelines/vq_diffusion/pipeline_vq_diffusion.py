"""Text to picture. Gu et al., "Vector Quantized Diffusion Model for Text-to-Image Synthesis", arXiv 2111.14822."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.guidance import guide
from ppdiffusers.pipelines.stages.images import decode
from ppdiffusers.pipelines.stages.prompts import encode_texts
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference
from ppdiffusers.pipelines.vq_diffusion.learned_embeddings import LearnedClassifierFreeSamplingEmbeddings
from ppdiffusers.utils.torch_utils import as_generator

_LEAST_LOG_P = -70.0  # stands for log(0)


class VQDiffusionPipeline(DiffusionPipeline):
    """Pictures from texts, by denoising a grid of codes that is masked at first.

    Args:
        vqvae: a `VQModel` that makes pictures of codes.
        text_encoder, tokenizer: a `CLIPTextModel` and its `CLIPTokenizer`.
        transformer: a `Transformer2DModel` over codes, which gives log p(x_0).
        scheduler: a `VQDiffusionScheduler` whose `num_vec_classes` counts the codes and the mask.
        learned_classifier_free_sampling_embeddings: what stands for "no text".
    """

    def __init__(
        self,
        vqvae: Any,
        text_encoder: Any,
        tokenizer: Any,
        transformer: Any,
        scheduler: Any,
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
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Paint pictures of the prompts.

        Args:
            prompt: what to paint; `num_images_per_prompt` pictures for each text.
            num_inference_steps: up to the number of training steps (100).
            guidance_scale: how strongly the prompt is followed; 1 or less is without guidance and twice as fast.
            truncation_rate: at each place only the likeliest codes are drawn from, as many as together have at most
                this probability (and always the likeliest); 1 leaves all.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            latents: codes [B, pixels] to start from, integers; by default all are the mask.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent"
                (the codes [B, pixels]).
            return_dict: False gives `(images,)`.
            callback, callback_steps: called as `f(index, timestep, codes)`, every so many steps.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        checks.refuse(
            self,
            checks.check_prompts(prompt, None, None, None),
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                guidance_scale=guidance_scale,
                truncation_rate=truncation_rate,
            ),
            checks.check_callbacks(None, None, (), callback, callback_steps),
            checks.check_generators_of(generator, checks.batch_of(prompt, None), num_images_per_prompt),
            self._check_codes(latents, checks.batch_of(prompt, None), num_images_per_prompt),
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

        watch = FiniteWatch()
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            model_input = paddle.concat([sample] * 2) if guided else sample
            # log p(x_0 | x_t, text), [2B or B, codes, N]
            log_p_x_0 = self.transformer(model_input, encoder_hidden_states=prompt_embeds, timestep=t).sample
            if guided:
                log_p_x_0 = guide(log_p_x_0, guidance_scale)
                log_p_x_0 = log_p_x_0 - log_p_x_0.logsumexp(axis=1, keepdim=True)
            watch.note(f"denoising at timestep {t}", log_p_x_0)
            log_p_x_0 = self.truncate(log_p_x_0, truncation_rate).clip(min=_LEAST_LOG_P)
            sample = self.scheduler.step(log_p_x_0, t, sample, generator=generator).prev_sample  # x_{t-1}
            if callback is not None and i % callback_steps == 0:
                callback(i, t, sample)

        images = sample if output_type == "latent" else self._decode(sample, watch)
        watch.warn()
        images = self.image_processor.postprocess(images, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def truncate(self, log_p_x_0: paddle.Tensor, truncation_rate: float) -> paddle.Tensor:
        """log 0 for the unlikeliest codes [B, codes, N]: those that come when the likelier ones already have together
        `truncation_rate` of the probability."""
        if truncation_rate >= 1:
            return log_p_x_0
        ranked = log_p_x_0.sort(axis=1, descending=True)
        likelier = ranked.exp().cumsum(axis=1)[:, :-1]  # what those before the second, the third, ... have together
        last_kept = (likelier < truncation_rate).astype("int64").sum(axis=1, keepdim=True)  # its rank, [B, 1, N]
        least = paddle.take_along_axis(ranked, last_kept, axis=1)
        return paddle.where(log_p_x_0 >= least, log_p_x_0, paddle.full_like(log_p_x_0, -float("inf")))

    def _encode_prompt(self, prompt: str | list[str], num_images_per_prompt: int, guided: bool) -> paddle.Tensor:
        """Text embeddings of length 1, each [B, L, D]; with guidance those of "no text" come first in the batch."""
        texts = [prompt] if isinstance(prompt, str) else prompt
        embeds = self._unit(texts).repeat_interleave(num_images_per_prompt, axis=0)
        if not guided:
            return embeds
        learned = self.learned_classifier_free_sampling_embeddings
        nothing = learned(len(texts)) if learned.learnable else self._unit([""] * len(texts))
        nothing = nothing.astype(embeds.dtype).repeat_interleave(num_images_per_prompt, axis=0)
        return paddle.concat([nothing, embeds])

    def _unit(self, texts: list[str]) -> paddle.Tensor:
        embeds = encode_texts(self.tokenizer, self.text_encoder, texts, tell_truncation=True)
        return embeds / embeds.norm(axis=-1, keepdim=True)

    def _decode(self, codes: paddle.Tensor, watch: FiniteWatch) -> paddle.Tensor:
        """Codes [B, N] to pictures [B, 3, H, W]."""
        grid = (codes.shape[0], self.transformer.height, self.transformer.width, self.vqvae.config.vq_embed_dim)
        entries = self.vqvae.quantize.get_codebook_entry(codes, grid)  # [B, D, h, w]
        return decode(self.vqvae, entries, watch, force_not_quantize=True)

    def _check_counts(self) -> list[str]:
        """All components mean the same codes; the autoencoder knows no mask."""
        counts = {
            "the transformer's `num_vector_embeds`": self.transformer.num_vector_embeds,
            "the scheduler's `num_vec_classes`": self.scheduler.config.num_vec_classes,
            "the autoencoder's `num_vq_embeddings` and the mask": self.vqvae.config.num_vq_embeddings + 1,
        }
        if len(set(counts.values())) == 1:
            return []
        return ["the components count different codes: " + ", ".join(f"{name}: {n}" for name, n in counts.items())]

    def _check_codes(self, latents: Any, prompts: int | None, each: Any) -> list[str]:
        codes = self.transformer.num_vector_embeds
        batch = prompts * each if prompts is not None and checks.is_whole(each) else None
        problems = checks.check_latents(latents, (batch, self.transformer.num_latent_pixels))
        if latents is not None and not problems:
            values = np.asarray(latents)
            if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= codes:
                problems.append(f"`latents` must be codes, integers from 0 to {codes - 1} (the mask)")
        return problems
