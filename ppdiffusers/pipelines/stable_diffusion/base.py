"""What Stable Diffusion pipelines share: components, diffusers' public methods as thin wrappers of the stages."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.models.adapters import scaled
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.loaders.lora import StableDiffusionLoraLoaderMixin
from ppdiffusers.pipelines.loaders.single_file import FromSingleFileMixin
from ppdiffusers.pipelines.loaders.textual_inversion import TextualInversionLoaderMixin
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages import latents as latents_stage
from ppdiffusers.pipelines.stages.denoise import StepCallbacks, UNetDenoiser
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.guidance import classifier_free_guidance, guidance_scale_embedding
from ppdiffusers.pipelines.stages.legacy import correct_scheduler, correct_unet, warn_of_missing_safety_checker
from ppdiffusers.pipelines.stages.prompt_encoders import (
    Conditioning,
    LongPrompts,
    PromptEncoder,
    PromptSyntax,
    encode_prompts,
    prompt_settings,
)
from ppdiffusers.pipelines.stages.safety import require_feature_extractor, run_safety_checker
from ppdiffusers.pipelines.stages.timesteps import step_kwargs
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import Generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class LatentDiffusionBase(DiffusionPipeline, StableDiffusionMixin):
    """What pipelines share whatever they are conditioned on: latents, guidance, safety checker, settings of a call."""

    # settings of the scheduler that diffusers corrects in this pipeline
    _corrected_settings: tuple[str, ...] = ("steps_offset", "clip_sample")

    # settings of the current call, for callbacks
    _guidance_scale = 1.0
    _guidance_rescale = 0.0
    _clip_skip: int | None = None
    _cross_attention_kwargs: dict[str, Any] | None = None
    _num_timesteps = 0

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: Scheduler
    safety_checker: StableDiffusionSafetyChecker | None
    feature_extractor: CLIPImageProcessor | None
    image_processor: VaeImageProcessor

    def _register(self, requires_safety_checker: bool, **components: Any) -> None:
        """Register components with a safety checker, correcting wrong settings of legacy checkpoints."""
        correct_scheduler(components["scheduler"], self._corrected_settings)
        correct_unet(components["unet"])
        if components["safety_checker"] is None and requires_safety_checker:
            warn_of_missing_safety_checker(self)
        require_feature_extractor(components["safety_checker"], components["feature_extractor"])
        self._register_with_vae(**components)
        self.register_to_config(requires_safety_checker=requires_safety_checker)

    def _register_with_vae(self, *, resample: str = "lanczos", **components: Any) -> None:
        """Register the components and create the image processor."""
        self.register_modules(**components)
        vae = components["vae"]
        # each level of the VAE except the last halves height and width
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 8
        self.image_processor = VaeImageProcessor(
            vae_scale_factor=self.vae_scale_factor,
            vae_latent_channels=4 if vae is None else vae.config.latent_channels,
            resample=resample,
        )

    # -- latents ------------------------------------------------------------------------------------------------------

    def _preprocess(self, image: PipelineImageInput, *args: Any) -> paddle.Tensor:
        """Images [N, 3, H, W] in [-1, 1], or latents [N, C, h, w]; `args` are those of the image processor."""
        return latents_stage.preprocess_images(self.image_processor, self.vae, image, *args)

    @device_is_optional
    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None = None,
    ) -> paddle.Tensor:
        """Initial latents [batch_size, num_channels_latents, height / 8, width / 8]."""
        shape = (batch_size, num_channels_latents, height // self.vae_scale_factor, width // self.vae_scale_factor)
        return latents_stage.initial_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)

    def decode_latents(self, latents: paddle.Tensor) -> np.ndarray:
        """Decode latents [B, C, h, w] to float32 images [B, H, W, 3] in [0, 1]."""
        return np.asarray(self.image_processor.postprocess(latents_stage.decode_latents(self.vae, latents), "np"))

    def _size(self, height: int | None, width: int | None, latents: Any = None) -> tuple[int, int]:
        """Height and width in pixels: as given if both are, else those of the latents or the UNet's `sample_size`."""
        return (height, width) if height and width else self._default_size(latents)

    def _size_of_each(self, height: int | None, width: int | None, latents: Any = None) -> tuple[int, int]:
        """The same for pipelines in which height or width may be given alone."""
        default = self._default_size(latents)
        return height or default[0], width or default[1]

    def _default_size(self, latents: Any) -> tuple[int, int]:
        if getattr(latents, "ndim", 0) == 4:
            return latents.shape[2] * self.vae_scale_factor, latents.shape[3] * self.vae_scale_factor
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return height * self.vae_scale_factor, width * self.vae_scale_factor

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_prompts(
        self,
        *,
        callback_steps: Any = None,
        tensor_inputs: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        **prompts: Any,
    ) -> list[str]:
        """Problems of what every `check_inputs` gets: prompts, settings of callbacks, images for IP-Adapters.

        Args:
            prompts: prompt and negative prompt, and their embeddings.
        """
        return [
            *checks.check_prompts(**prompts),
            *checks.check_callbacks(
                callback_steps=callback_steps, tensor_inputs=tensor_inputs, allowed=self._callback_tensor_inputs
            ),
            *(
                self._check_ip_adapter(ip_adapter_image, ip_adapter_image_embeds)
                if isinstance(self, IPAdapterMixin)
                else []
            ),
        ]

    def _check_sampling(
        self,
        callbacks: StepCallbacks,
        *,
        prompts: int | None,
        num_images_per_prompt: Any,
        channels: int,
        height: Any,
        width: Any,
        latents: Any,
        generator: Any,
        **settings: Any,
    ) -> list[str]:
        """Problems of what `check_inputs` does not get: steps, noise, callbacks, numbers such as the guidance scale.

        Args:
            prompts: number of prompts.
            channels, height, width: of the latents (None is any), and of the image in pixels.
            settings: those of `checks.check_sampling`.
        """
        return [
            *checks.check_sampling(scheduler=self.scheduler, num_images_per_prompt=num_images_per_prompt, **settings),
            *callbacks.check(),
            *checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=prompts,
                num_images_per_prompt=num_images_per_prompt,
                channels=channels,
                height=height,
                width=width,
                scale_factor=self.vae_scale_factor,
            ),
        ]

    # -- denoising ----------------------------------------------------------------------------------------------------

    def _denoiser(self, latents: paddle.Tensor, image_conditions: dict[str, Any] | None = None) -> UNetDenoiser:
        """The UNet with the settings of the current call, for latents [B, C, h, w].

        Args:
            image_conditions: `added_cond_kwargs` for IP-Adapters, see `IPAdapterMixin._image_conditions`.
        """
        return UNetDenoiser(
            self.unet,
            self.scheduler,
            timestep_cond=self._timestep_cond(latents.shape[0], latents.dtype),
            cross_attention_kwargs=self.cross_attention_kwargs,
            added_cond_kwargs=image_conditions,
        )

    def prepare_extra_step_kwargs(self, generator: Generator, eta: float) -> dict[str, Any]:
        """Keyword arguments of the scheduler's step."""
        return step_kwargs(self.scheduler, generator, eta)

    def _guide(self, noise_pred: paddle.Tensor, guidance_scale: float | None = None) -> paddle.Tensor:
        """Combine predictions [2B, C, h, w] to [B, C, h, w]; without guidance they stay as they are.

        Args:
            guidance_scale: by default that of the call, which a callback may change.
        """
        if not self.do_classifier_free_guidance:
            return noise_pred
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        return classifier_free_guidance(noise_pred, scale, self.guidance_rescale)

    # -- guidance scale as an input of the UNet ----------------------------------------------------------------------

    def get_guidance_scale_embedding(
        self, w: paddle.Tensor, embedding_dim: int = 512, dtype: paddle.dtype | str = "float32"
    ) -> paddle.Tensor:
        """Embed guidance scales [B] for distilled UNets: [B, embedding_dim]."""
        return guidance_scale_embedding(w, embedding_dim, dtype)

    def _timestep_cond(self, batch_size: int, dtype: paddle.dtype) -> paddle.Tensor | None:
        """The embedded guidance scale [B, D] for UNets that take it as an input (latent consistency models)."""
        embedding_dim = self.unet.config.time_cond_proj_dim
        if embedding_dim is None:
            return None
        w = paddle.full([batch_size], self.guidance_scale - 1, dtype="float32")
        return self.get_guidance_scale_embedding(w, embedding_dim).astype(dtype)

    # -- images -------------------------------------------------------------------------------------------------------

    @device_is_optional
    def run_safety_checker(self, image: Any, device: Any, dtype: paddle.dtype) -> tuple[Any, list[bool] | None]:
        """Return the images, flagged ones black, and their flags (None without a safety checker)."""
        return run_safety_checker(self.safety_checker, self.feature_extractor, self.image_processor, image, dtype)

    def _images(
        self, latents: paddle.Tensor, *, output_type: str, dtype: paddle.dtype, finite: FiniteCheck
    ) -> tuple[Any, list[bool] | None]:
        """Decode latents [B, C, h, w], run the safety checker, and convert: (images as `output_type`, flags)."""
        if output_type == "latent":
            image, has_nsfw_concept = latents, None
        else:
            image = latents_stage.decode_latents(self.vae, latents, finite)  # [B, 3, H, W]
            # that of the upscaler also returns flags for watermarks
            image, has_nsfw_concept, *_ = self.run_safety_checker(image, self.device, dtype)
        finite.warn()
        # flagged images are zero already
        do_denormalize = [not flagged for flagged in has_nsfw_concept or [False] * image.shape[0]]
        return self.image_processor.postprocess(image, output_type, do_denormalize), has_nsfw_concept

    @staticmethod
    def _output(
        image: Any, has_nsfw_concept: list[bool] | None, return_dict: bool
    ) -> StableDiffusionPipelineOutput | tuple:
        if not return_dict:
            return image, has_nsfw_concept
        return StableDiffusionPipelineOutput(images=image, nsfw_content_detected=has_nsfw_concept)

    # -- settings of the current call, for callbacks ------------------------------------------------------------------

    def _begin(
        self,
        *,
        guidance_scale: float,
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Record the settings of this call."""
        self._guidance_scale, self._guidance_rescale = guidance_scale, guidance_rescale
        self._clip_skip, self._cross_attention_kwargs = clip_skip, cross_attention_kwargs
        self._interrupt = False

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
        """Whether each step predicts twice; False if the UNet takes the guidance scale as an input."""
        return self._guidance_scale > 1 and self.unet.config.time_cond_proj_dim is None

    @property
    def cross_attention_kwargs(self) -> dict[str, Any] | None:
        return self._cross_attention_kwargs

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `pipeline._interrupt = True` in a callback to stop after the current step."""
        return self._interrupt


class StableDiffusionBase(
    LatentDiffusionBase, TextualInversionLoaderMixin, StableDiffusionLoraLoaderMixin, FromSingleFileMixin
):
    """Components of Stable Diffusion, and the public methods that scripts call and override.

    Args:
        vae: encodes images to latents and decodes them.
        text_encoder: a CLIP text model (of ppdiffusers or paddlenlp).
        tokenizer: of the text encoder.
        unet: predicts the noise (or x_0, or v) in the latents.
        scheduler: any scheduler for the noise schedule of the UNet.
        safety_checker: flags objectionable images, which are returned black; or None.
        feature_extractor: preprocesses images for the safety checker.
        image_encoder: kept for checkpoints that have one.
        requires_safety_checker: whether to warn if there is no safety checker.
    """

    _optional_components: tuple[str, ...] = ("safety_checker", "feature_extractor", "image_encoder")
    _callback_tensor_inputs: tuple[str, ...] = ("latents", "prompt_embeds", "negative_prompt_embeds")
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        safety_checker: StableDiffusionSafetyChecker | None,
        feature_extractor: CLIPImageProcessor | None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        self._register(
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

    # -- prompts ------------------------------------------------------------------------------------------------------

    @device_is_optional
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
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Encode prompts and negative prompts to embeddings [B * num_images_per_prompt, L, D] each.

        Prompts of more than 77 tokens are truncated; with `long_prompts="split"` they are encoded in chunks, and L is
        154, 231, ... `prompt_syntax="webui"` supports weights: `(word:1.3)`, `[word]`. See
        `ppdiffusers.pipelines.stages.prompt_encoders`.

        `lora_scale` multiplies the weights of the text encoder's adapters. `device` has no effect: the result is on
        the device of the text encoder. Calls in the order of ppdiffusers 0.29, without `device`, work too.
        """
        unscaled = lora_scale is None or self.text_encoder is None
        with contextlib.nullcontext() if unscaled else scaled(self.text_encoder, lora_scale):
            conditioning = encode_prompts(
                PromptEncoder(self.tokenizer, self.text_encoder, can_split=True),
                prompt=self.maybe_convert_prompt(prompt, self.tokenizer),
                negative_prompt=self.maybe_convert_prompt(negative_prompt, self.tokenizer),
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                num_images_per_prompt=num_images_per_prompt,
                do_classifier_free_guidance=do_classifier_free_guidance,
                clip_skip=clip_skip,
                dtype=None if self.unet is None else dtype_of(self.unet),
                prompt_syntax=prompt_syntax,
                long_prompts=long_prompts,
            )
        return conditioning.prompt_embeds, conditioning.negative_prompt_embeds

    @device_is_optional
    def _encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        lora_scale: float | None = None,
        **kwargs: Any,
    ) -> paddle.Tensor:
        """Return the embeddings of `encode_prompt`, unconditional ones first, in one tensor [2B, L, D] (deprecated)."""
        warnings.warn("`_encode_prompt` is deprecated: call `encode_prompt`.", FutureWarning, stacklevel=3)
        embeds, negative_embeds = self.encode_prompt(
            prompt,
            device,
            num_images_per_prompt,
            do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            lora_scale=lora_scale,
            **kwargs,
        )
        return embeds if negative_embeds is None else paddle.concat([negative_embeds, embeds])

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
            prompts: `prompt`, `negative_prompt`, `prompt_embeds`, `negative_prompt_embeds`, `clip_skip`.
        """
        lora_scale = (self.cross_attention_kwargs or {}).get("scale")
        if lora_scale is not None:
            prompts["lora_scale"] = lora_scale
        embeds, negative_embeds = self.encode_prompt(
            prompts.pop("prompt"),
            self.device,
            num_images_per_prompt,
            self.do_classifier_free_guidance,
            **prompts,
            **prompt_settings(prompt_syntax, long_prompts),
        )
        return Conditioning(embeds, negative_embeds if self.do_classifier_free_guidance else None)
