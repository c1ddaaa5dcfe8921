"""What the pipelines of Stable Diffusion do alike: components, prompts, the settings of a run, decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.stages.guidance import guidance_scale_embedding, guide
from ppdiffusers.pipelines.stages.images import decode_latents
from ppdiffusers.pipelines.stages.latents import first_latents
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.prompts import dtype_of, encode_prompt
from ppdiffusers.pipelines.stages.published import mend_scheduler, mend_unet, tell_no_safety_checker
from ppdiffusers.pipelines.stages.run import FiniteWatch, step_kwargs
from ppdiffusers.pipelines.stages.safety import run_safety_checker


class LatentsMixin:
    """Between noise, latents and pictures: what every latent diffusion pipeline has.

    It stands before `DiffusionPipeline` among the base classes.
    """

    def _register(self, resample: str = "lanczos", **components: Any) -> None:
        """Register the components and make the picture processor."""
        self.register_modules(**components)
        vae = components["vae"]
        # each level of the VAE but the last halves the picture's sides
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 8
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor, resample=resample)

    # -- the steps one by one: the same names as in diffusers, so that code that calls or overrides them works ------

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: Any,
        device: Any,
        generator: Any,
        latents: paddle.Tensor | np.ndarray | None = None,
    ) -> paddle.Tensor:
        """The first latents, [batch_size, num_channels_latents, height / 8, width / 8]."""
        shape = (batch_size, num_channels_latents, height // self.vae_scale_factor, width // self.vae_scale_factor)
        return first_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)

    def prepare_extra_step_kwargs(self, generator: Any, eta: float) -> dict[str, Any]:
        """What the scheduler's step takes besides its three tensors."""
        return step_kwargs(self.scheduler, generator, eta)

    def decode_latents(self, latents: paddle.Tensor) -> np.ndarray:
        """Latents [B, C, h, w] -> float32 pictures [B, H, W, 3] in [0, 1]."""
        return self.image_processor.postprocess(decode_latents(self.vae, latents), "np")


class LatentPipelineMixin(LatentsMixin):
    """What those with a safety checker have beside: judging, the settings of a run."""

    # the scheduler's settings whose published mistakes this pipeline corrects: not all do, nor do diffusers'
    _mended_settings: tuple[str, ...] = ("steps_offset", "clip_sample")
    _guidance_scale = 1.0
    _guidance_rescale = 0.0
    _clip_skip: int | None = None
    _cross_attention_kwargs: dict[str, Any] | None = None
    _num_timesteps = 0

    def _set_up(self, requires_safety_checker: bool, **components: Any) -> None:
        """Register the components, mended where old folders are wrong, and make the picture processor."""
        mend_scheduler(components["scheduler"], self._mended_settings)
        mend_unet(components["unet"])
        if components["safety_checker"] is None and requires_safety_checker:
            tell_no_safety_checker(self)
        if components["safety_checker"] is not None and components["feature_extractor"] is None:
            raise InputError(
                "The safety checker needs a feature extractor, and there is none.",
                remedy="pass `feature_extractor=CLIPImageProcessor(...)`, or `safety_checker=None`.",
            )
        self._register(**components)
        self.register_to_config(requires_safety_checker=requires_safety_checker)

    def _begin(
        self,
        guidance_scale: float,
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Note the settings of this run, for callbacks."""
        self._guidance_scale, self._guidance_rescale = guidance_scale, guidance_rescale
        self._clip_skip, self._cross_attention_kwargs = clip_skip, cross_attention_kwargs
        self._interrupt = False

    def _predict(
        self,
        latents: paddle.Tensor,
        t: Any,
        embeds: paddle.Tensor,
        timestep_cond: paddle.Tensor | None = None,
        seen: Sequence[paddle.Tensor] = (),
        class_labels: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """What the UNet predicts for latents [B, C, h, w]: [B, C, h, w], or [2B, C, h, w] with guidance.

        Args:
            embeds: what it attends to, [2B or B, L, D].
            timestep_cond: see `_guidance_condition`.
            seen: what it sees beside the latents, each [2B or B, any, h, w].
            class_labels: [2B or B], where it has a class embedding.
        """
        model_input = paddle.concat([latents] * 2) if self.do_classifier_free_guidance else latents
        model_input = self.scheduler.scale_model_input(model_input, t)
        return self.unet(
            paddle.concat([model_input, *seen], axis=1) if seen else model_input,
            t,
            encoder_hidden_states=embeds,
            class_labels=class_labels,
            timestep_cond=timestep_cond,
            cross_attention_kwargs=self.cross_attention_kwargs,
            return_dict=False,
        )[0]

    def _guide(self, noise_pred: paddle.Tensor, guidance_scale: float | None = None) -> paddle.Tensor:
        """Predictions [2B, C, h, w] -> the guided one [B, C, h, w]; without guidance they stay as they are.

        Args:
            guidance_scale: by default that of the run, which a callback may change.
        """
        if not self.do_classifier_free_guidance:
            return noise_pred
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        return guide(noise_pred, scale, self.guidance_rescale)

    def run_safety_checker(self, image: Any, device: Any, dtype: Any) -> tuple[Any, list[bool] | None]:
        """Pictures, flagged ones black, and their flags (None without a safety checker)."""
        return run_safety_checker(self.safety_checker, self.feature_extractor, self.image_processor, image, dtype)

    def _pictures(
        self, latents: paddle.Tensor, output_type: str, dtype: Any, watch: FiniteWatch
    ) -> tuple[Any, list[bool] | None]:
        """Latents [B, C, h, w] -> (pictures as `output_type` says, flags): decoded, judged, post-processed."""
        if output_type == "latent":
            image, has_nsfw_concept = latents, None
        else:
            image = decode_latents(self.vae, latents, watch)  # [B, 3, H, W]
            # that of the upscaler tells of watermarks too
            image, has_nsfw_concept, *_ = self.run_safety_checker(image, self.device, dtype)
        watch.warn()
        # blacked out pictures are zero already
        do_denormalize = [not flagged for flagged in has_nsfw_concept or [False] * image.shape[0]]
        return self.image_processor.postprocess(image, output_type, do_denormalize), has_nsfw_concept

    @staticmethod
    def _output(image: Any, has_nsfw_concept: list[bool] | None, return_dict: bool) -> Any:
        if not return_dict:
            return image, has_nsfw_concept
        return StableDiffusionPipelineOutput(images=image, nsfw_content_detected=has_nsfw_concept)

    def _size(self, height: int | None, width: int | None, latents: Any = None) -> tuple[int, int]:
        """Pixels asked for, both sides, or those of the given latents, or what the UNet was trained for."""
        return (height, width) if height and width else self._own_size(latents)

    def _size_of_each(self, height: int | None, width: int | None, latents: Any = None) -> tuple[int, int]:
        """The same, in pipelines where one side may be given alone."""
        own = self._own_size(latents)
        return height or own[0], width or own[1]

    def _own_size(self, latents: Any) -> tuple[int, int]:
        if getattr(latents, "ndim", 0) == 4:
            return latents.shape[2] * self.vae_scale_factor, latents.shape[3] * self.vae_scale_factor
        side = self.unet.config.sample_size
        rows, columns = (side, side) if isinstance(side, int) else side
        return rows * self.vae_scale_factor, columns * self.vae_scale_factor

    # -- the settings of the run in progress, for callbacks ------------------------------------------------------------

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def guidance_rescale(self) -> float:
        return self._guidance_rescale

    @property
    def clip_skip(self) -> int | None:
        return self._clip_skip

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Two network calls a step, unless the UNet takes the scale as an input."""
        return self._guidance_scale > 1 and self.unet.config.time_cond_proj_dim is None

    @property
    def cross_attention_kwargs(self) -> dict | None:
        return self._cross_attention_kwargs

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `pipeline._interrupt = True` in a callback to stop after this step."""
        return self._interrupt


class TextGuidedMixin(LatentPipelineMixin):
    """The same, with Stable Diffusion's text encoder and all its components.

    Args:
        vae: an `AutoencoderKL`, between pictures and latents.
        text_encoder: a `CLIPTextModel` (ours or paddlenlp's).
        tokenizer: a `CLIPTokenizer`.
        unet: a `UNet2DConditionModel` that predicts the noise (or x_0, or v) in the latents.
        scheduler: any scheduler for the UNet's noise schedule.
        safety_checker: a `StableDiffusionSafetyChecker` that blacks out objectionable pictures, or None.
        feature_extractor: a `CLIPImageProcessor`, which prepares pictures for the safety checker.
        image_encoder: kept for folders that have one.
        requires_safety_checker: whether to warn when there is none.
    """

    _optional_components = ("safety_checker", "feature_extractor", "image_encoder")
    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds")

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any,
        feature_extractor: Any,
        image_encoder: Any = None,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        self._set_up(
            requires_safety_checker,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
        )

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        lora_scale: float | None = None,
        clip_skip: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """(prompt_embeds, negative_prompt_embeds), each [B * num_images_per_prompt, L, D].

        Prompts of more than 77 tokens are split into chunks, and L becomes 154, 231, ...: `long_prompts="truncate"`
        cuts them, as diffusers does. `prompt_syntax="webui"` takes weights: `(word:1.3)`, `[word]`. Both are explained
        in `ppdiffusers.pipelines.stages.prompts.encode_prompt`.

        `device` and `lora_scale` have no effect: the result is where the text encoder is, which holds no LoRA.
        """
        return encode_prompt(
            self.tokenizer,
            self.text_encoder,
            prompt,
            num_images_per_prompt,
            do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            dtype=dtype_of(self.unet),
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )

    def _embed(
        self,
        prompt: str | list[str] | None,
        num_images_per_prompt: int,
        negative_prompt: str | list[str] | None,
        prompt_embeds: paddle.Tensor | None,
        negative_prompt_embeds: paddle.Tensor | None,
        clip_skip: int | None,
        prompt_syntax: str,
        long_prompts: str,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """What the UNet attends to, [2B, L, D] with guidance, what to keep away from first; and that part alone."""
        prompt_embeds, negative_prompt_embeds = self._embed_each(
            prompt,
            num_images_per_prompt,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            prompt_syntax,
            long_prompts,
        )  # [B, L, D] each
        if self.do_classifier_free_guidance:
            return paddle.concat([negative_prompt_embeds, prompt_embeds]), negative_prompt_embeds
        return prompt_embeds, negative_prompt_embeds

    def _embed_each(
        self,
        prompt: str | list[str] | None,
        num_images_per_prompt: int,
        negative_prompt: str | list[str] | None,
        prompt_embeds: paddle.Tensor | None,
        negative_prompt_embeds: paddle.Tensor | None,
        clip_skip: int | None,
        prompt_syntax: str,
        long_prompts: str,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """The prompts, and what to keep away from (None without guidance), [B, L, D] each."""
        # an override that is written for diffusers knows no syntax
        asked = {"prompt_syntax": prompt_syntax, "long_prompts": long_prompts}
        settings = {name: value for name, value in asked.items() if value not in ("plain", "split")}
        return self.encode_prompt(
            prompt,
            self.device,
            num_images_per_prompt,
            self.do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            clip_skip=clip_skip,
            **settings,
        )

    def get_guidance_scale_embedding(
        self, w: paddle.Tensor, embedding_dim: int = 512, dtype: Any = "float32"
    ) -> paddle.Tensor:
        """Embedding of guidance scales [B] -> [B, embedding_dim], for distilled UNets."""
        return guidance_scale_embedding(w, embedding_dim, dtype)

    def _guidance_condition(self, batch_size: int, dtype: Any) -> paddle.Tensor | None:
        """[B, D] for UNets distilled to take the guidance scale as an input (latent consistency models)."""
        embedding_dim = self.unet.config.time_cond_proj_dim
        if embedding_dim is None:
            return None
        w = paddle.full([batch_size], self.guidance_scale - 1, dtype="float32")
        return self.get_guidance_scale_embedding(w, embedding_dim).astype(dtype)


class TextGuidedAloneMixin(TextGuidedMixin):
    """The same without a place for an image encoder, as in the pipelines that are older than it."""

    _optional_components = ("safety_checker", "feature_extractor")

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any,
        feature_extractor: Any,
        requires_safety_checker: bool = True,
    ):
        super(TextGuidedMixin, self).__init__()
        self._set_up(
            requires_safety_checker,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )
