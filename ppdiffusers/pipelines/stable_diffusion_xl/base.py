"""What Stable Diffusion XL pipelines share: components, two text encoders, conditioning on the size of the image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.models.adapters import scaled
from ppdiffusers.pipelines.loaders.lora_xl import StableDiffusionXLLoraLoaderMixin
from ppdiffusers.pipelines.loaders.single_file import FromSingleFileMixin
from ppdiffusers.pipelines.loaders.textual_inversion_xl import StableDiffusionXLTextualInversionMixin
from ppdiffusers.pipelines.stable_diffusion.base import LatentDiffusionBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stable_diffusion_xl.watermark import watermarker
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages import latents as latents_stage
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.pooled_prompts import encode_pooled_prompts
from ppdiffusers.pipelines.stages.prompt_encoders import (
    Conditioning,
    LongPrompts,
    PromptEncoder,
    PromptSyntax,
    prompt_settings,
)
from ppdiffusers.pipelines.stages.size_conditions import Ids, SizeConditions
from ppdiffusers.runtime.turns import network_turn
from ppdiffusers.utils.dtypes import dtype_of

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class StableDiffusionXLBase(
    LatentDiffusionBase,
    StableDiffusionXLTextualInversionMixin,
    StableDiffusionXLLoraLoaderMixin,
    FromSingleFileMixin,
):
    """Components of Stable Diffusion XL, and the public methods that scripts call and override.

    Args:
        vae: encodes images to latents and decodes them, in float32 if its configuration has `force_upcast`.
        text_encoder, tokenizer: a CLIP text model and its tokenizer; None in the refiner.
        text_encoder_2, tokenizer_2: a larger CLIP text model, whose projection gives the pooled embedding.
        unet: predicts the noise in the latents, given the embeddings and the sizes.
        scheduler: any scheduler for the noise schedule of the UNet.
        image_encoder, feature_extractor: encode images for IP-Adapters.
        force_zeros_for_empty_prompt: without a negative prompt the unconditional embeddings are zero.
        add_watermarker: whether images get an invisible watermark; by default if `invisible-watermark` is installed.
    """

    _optional_components: tuple[str, ...] = (
        *("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"),
        *("image_encoder", "feature_extractor"),
    )
    _callback_tensor_inputs: tuple[str, ...] = ("latents", "prompt_embeds", "add_text_embeds", "add_time_ids")
    _denoising_end: float | None = None

    text_encoder: CLIPTextModel | None
    text_encoder_2: CLIPTextModelWithProjection | None
    tokenizer: CLIPTokenizer | None
    tokenizer_2: CLIPTokenizer | None

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        force_zeros_for_empty_prompt: bool = True,
        add_watermarker: bool | None = None,
    ):
        super().__init__()
        self._register_xl(
            {"force_zeros_for_empty_prompt": force_zeros_for_empty_prompt},
            add_watermarker,
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            scheduler=scheduler,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
        )

    def _register_xl(self, settings: dict[str, Any], add_watermarker: bool | None, **components: Any) -> None:
        """Register components and settings; `add_watermarker` is a setting only if it is given."""
        self._register_with_vae(**components)
        given = {} if add_watermarker is None else {"add_watermarker": add_watermarker}
        self.register_to_config(**settings, **given)
        self.watermark = watermarker(add_watermarker)

    # -- prompts ------------------------------------------------------------------------------------------------------

    @device_is_optional
    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        prompt_2: str | list[str] | None = None,
        device: Any = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        pooled_prompt_embeds: paddle.Tensor | None = None,
        negative_pooled_prompt_embeds: paddle.Tensor | None = None,
        lora_scale: float | None = None,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None, paddle.Tensor, paddle.Tensor | None]:
        """Encode prompts and negative prompts: embeddings [B, L, D] of both, then pooled embeddings [B, P] of both.

        `prompt_2` and `negative_prompt_2` are for the second text encoder, by default those of the first one. B is the
        number of prompts times `num_images_per_prompt`. `prompt_syntax` and `long_prompts`: see
        `ppdiffusers.pipelines.stages.prompt_encoders`.

        `lora_scale` multiplies the weights of the text encoders' adapters. `device` has no effect: the result is on
        the device of the text encoders.
        """
        encoders = [PromptEncoder(self.tokenizer_2, self.text_encoder_2, can_split=True)]
        prompts, negative_prompts = [prompt], [negative_prompt]
        if self.tokenizer is not None or self.text_encoder is not None:
            encoders.insert(0, PromptEncoder(self.tokenizer, self.text_encoder, can_split=True))
            prompts = [prompt, prompt_2 or prompt]
            negative_prompts = [negative_prompt, negative_prompt_2 or negative_prompt]
        tokenizers = [encoder.tokenizer for encoder in encoders]
        with contextlib.ExitStack() as scales:
            for encoder in encoders:
                if lora_scale is not None and encoder.text_encoder is not None:
                    scales.enter_context(scaled(encoder.text_encoder, lora_scale))
            conditioning = encode_pooled_prompts(
                encoders,
                prompts=list(map(self.maybe_convert_prompt, prompts, tokenizers)),
                negative_prompts=list(map(self.maybe_convert_prompt, negative_prompts, tokenizers)),
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                pooled_prompt_embeds=pooled_prompt_embeds,
                negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
                force_zeros=self.config.force_zeros_for_empty_prompt,
                num_images_per_prompt=num_images_per_prompt,
                do_classifier_free_guidance=do_classifier_free_guidance,
                clip_skip=clip_skip,
                dtype=None if self.unet is None else dtype_of(self.unet),
                prompt_syntax=prompt_syntax,
                long_prompts=long_prompts,
            )
        return (
            conditioning.prompt_embeds,
            conditioning.negative_prompt_embeds,
            conditioning.pooled_prompt_embeds,
            conditioning.negative_pooled_prompt_embeds,
        )

    def _conditioning(
        self,
        *,
        num_images_per_prompt: int,
        prompt_syntax: PromptSyntax,
        long_prompts: LongPrompts | None,
        **prompts: Any,
    ) -> Conditioning:
        """Call `encode_prompt`, which may be overridden, with the settings of the current call.

        Args:
            prompts: the prompts, their embeddings, and `clip_skip`.
        """
        lora_scale = (self.cross_attention_kwargs or {}).get("scale")
        if lora_scale is not None:
            prompts["lora_scale"] = lora_scale
        embeds, negative, pooled, negative_pooled = self.encode_prompt(
            device=self.device,
            num_images_per_prompt=num_images_per_prompt,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
            **prompts,
            **prompt_settings(prompt_syntax, long_prompts),
        )
        if not self.do_classifier_free_guidance:
            negative = negative_pooled = None
        return Conditioning(embeds, negative, pooled, negative_pooled)

    def _check_all_prompts(
        self,
        *,
        callback_steps: Any = None,
        tensor_inputs: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        **prompts: Any,
    ) -> list[str]:
        """Problems of `_check_prompts` and `_check_pooled_prompts`, for `check_inputs` that get all prompts."""
        first = ("prompt", "negative_prompt", "prompt_embeds", "negative_prompt_embeds")
        return [
            *self._check_prompts(
                **{name: prompts[name] for name in first},
                callback_steps=callback_steps,
                tensor_inputs=tensor_inputs,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
            ),
            *self._check_pooled_prompts(**prompts),
        ]

    def _check_pooled_prompts(
        self, *, prompt: Any, prompt_2: Any, negative_prompt: Any, negative_prompt_2: Any, **embeds: Any
    ) -> list[str]:
        """Prompts of the second text encoder, embeddings and pooled embeddings match, and fit this pipeline.

        Args:
            embeds: `prompt_embeds`, `negative_prompt_embeds`, and both pooled ones.
        """
        problems = checks.check_pooled_prompts(
            prompt=prompt, prompt_2=prompt_2, negative_prompt_2=negative_prompt_2, **embeds
        )
        if self.text_encoder is None and self.text_encoder_2 is not None:
            problems += [
                f"`{name}` is for the second of two text encoders, and this pipeline (a refiner) has one"
                for name, value in (("prompt_2", prompt_2), ("negative_prompt_2", negative_prompt_2))
                if value is not None
            ]
        width = self.unet.config.cross_attention_dim
        return problems + [
            f"`{name}` has {value.shape[-1]} channels, the UNet accepts {width}"
            for name, value in embeds.items()
            if "pooled" not in name and getattr(value, "ndim", 0) == 3 and value.shape[-1] != width
        ]

    # -- conditioning on sizes ----------------------------------------------------------------------------------------

    def _check_sizes(self, sizes: SizeConditions, pooled_prompt_embeds: Any) -> list[str]:
        """The sizes are valid, and fill the UNet's additional embedding together with the pooled embedding."""
        return sizes.check() + self._check_added_width(sizes.count, pooled_prompt_embeds)

    def _check_added_width(self, count: int, pooled_prompt_embeds: Any) -> list[str]:
        config = self.unet.config
        if config.addition_embed_type != "text_time":
            return ["the UNet is not one of Stable Diffusion XL: its `addition_embed_type` is not 'text_time'"]
        if self.text_encoder_2 is not None:
            width = self.text_encoder_2.config.projection_dim
        elif getattr(pooled_prompt_embeds, "ndim", 0) == 2:
            width = pooled_prompt_embeds.shape[-1]
        else:
            return []  # reported by the check of the prompts
        found, expected = width + count * config.addition_time_embed_dim, config.projection_class_embeddings_input_dim
        if found == expected:
            return []
        hint = ""
        if abs(found - expected) == config.addition_time_embed_dim and "requires_aesthetics_score" in self.config:
            hint = f"; set `pipe.register_to_config(requires_aesthetics_score={found > expected})`"
        return [
            f"the UNet is conditioned on {expected} channels, and a pooled embedding of {width} channels with {count} "
            f"numbers of {config.addition_time_embed_dim} channels has {found}{hint}"
        ]

    def _time_ids(self, ids: tuple[Ids, Ids], batch_size: int, dtype: paddle.dtype) -> paddle.Tensor:
        """Numbers that the UNet reads: [2B, n] with guidance, the negative ones first; else [B, n]."""
        rows = [ids[1], ids[0]] if self.do_classifier_free_guidance else [ids[0]]
        return (
            paddle.to_tensor([list(row) for row in rows], dtype="float32")
            .astype(dtype)
            .repeat_interleave(batch_size, axis=0)
        )

    # -- images -------------------------------------------------------------------------------------------------------

    def upcast_vae(self) -> None:
        """Cast the VAE to float32."""
        self.vae.to(dtype="float32")

    @contextlib.contextmanager
    def _vae_in_float32(self, *dtypes: paddle.dtype) -> Iterator[paddle.dtype]:
        """Run a VAE of these dtypes in float32 if its configuration has `force_upcast`; yields its dtype meanwhile."""
        with network_turn(self.vae):  # it is cast in place
            dtype = dtype_of(self.vae)
            if dtype not in dtypes or not self.vae.config.force_upcast:
                yield dtype
                return
            self.upcast_vae()
            try:
                yield dtype_of(self.vae)
            finally:
                self.vae.to(dtype=dtype)

    def _images(self, latents: paddle.Tensor, output_type: str, finite: FiniteCheck) -> Any:
        """Decode latents [B, C, h, w], add the watermark, and convert to `output_type`."""
        images = latents
        if output_type != "latent":
            with self._vae_in_float32(paddle.float16) as dtype:
                images = latents_stage.decode_latents(self.vae, latents.astype(dtype), finite)  # [B, 3, H, W]
            if self.watermark is not None:
                images = self.watermark.apply_watermark(images)
            images = self.image_processor.postprocess(images, output_type)
        finite.warn()
        return images

    @staticmethod
    def _output(images: Any, return_dict: bool) -> StableDiffusionXLPipelineOutput | tuple:
        return StableDiffusionXLPipelineOutput(images=images) if return_dict else (images,)

    @property
    def denoising_end(self) -> float | None:
        return self._denoising_end
