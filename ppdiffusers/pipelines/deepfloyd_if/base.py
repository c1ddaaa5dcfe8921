"""What the pipelines of DeepFloyd IF share: components, prompts, the denoising loop over pixels, safety, output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import OUTPUT_TYPES, VaeImageProcessor
from ppdiffusers.pipelines.deepfloyd_if.pipeline_output import IFPipelineOutput
from ppdiffusers.pipelines.loaders.lora import StableDiffusionLoraLoaderMixin
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.captions import prepare_captions
from ppdiffusers.pipelines.stages.denoise import (
    Callback,
    DenoisingLoop,
    GuidedPrediction,
    Tensors,
    UNetDenoiser,
)
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.guidance import guidance_with_variance, reads_variance
from ppdiffusers.pipelines.stages.legacy import warn_of_missing_safety_checker
from ppdiffusers.pipelines.stages.prompt_encoders import Conditioning, T5PromptEncoder, encode_prompts
from ppdiffusers.pipelines.stages.safety import checker_pixels, require_feature_extractor
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, step_kwargs
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.deepfloyd_if.safety_checker import IFSafetyChecker
    from ppdiffusers.pipelines.deepfloyd_if.watermark import IFWatermarker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from ppdiffusers.transformers import CLIPImageProcessor, T5EncoderModel, T5Tokenizer

MAX_TOKENS = 77  # of the prompts that IF was trained with


@dataclass(frozen=True)
class Sampling:
    """Settings of a call that its loop needs."""

    guidance_scale: float
    eta: float
    generator: Generator
    callback: Callback | None
    callback_steps: int
    cross_attention_kwargs: dict[str, Any] | None

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1.0

    def with_stream(self) -> Sampling:
        """The same with a generator that draws several times from one stream; call it after the checks."""
        return replace(self, generator=as_generator(self.generator))


@dataclass(frozen=True)
class Prompts:
    """Prompts of a call, as strings or embeddings."""

    prompt: str | list[str] | None
    negative_prompt: str | list[str] | None
    prompt_embeds: paddle.Tensor | None
    negative_prompt_embeds: paddle.Tensor | None
    num_images_per_prompt: int
    clean_caption: bool

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of `check_inputs`."""
        names = ("prompt", "negative_prompt", "prompt_embeds", "negative_prompt_embeds")
        return {name: getattr(self, name) for name in names}

    @property
    def count(self) -> int | None:
        """The number of prompts; None if they are not valid."""
        return checks.num_prompts(self.prompt, self.prompt_embeds)

    @property
    def batch_size(self) -> int:
        """The number of images of valid prompts."""
        return (self.count or 0) * self.num_images_per_prompt


class IFBase(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """A stage of DeepFloyd IF.

    Args:
        tokenizer, text_encoder: encode prompts; None if only embeddings are passed, such as those of an earlier stage.
        unet: predicts noise and variance of images; None if the pipeline only encodes prompts.
        safety_checker, feature_extractor: find unsafe images, optional.
        watermarker: pastes a watermark into PIL images, optional.
        requires_safety_checker: warn if there is no safety checker.
    """

    _optional_components = ("tokenizer", "text_encoder", "safety_checker", "feature_extractor", "watermarker")
    model_cpu_offload_seq = "text_encoder->unet"

    tokenizer: T5Tokenizer | None
    text_encoder: T5EncoderModel | None
    unet: UNet2DConditionModel
    scheduler: Scheduler
    safety_checker: IFSafetyChecker | None
    feature_extractor: CLIPImageProcessor | None
    watermarker: IFWatermarker | None

    def __init__(
        self,
        tokenizer: T5Tokenizer | None,
        text_encoder: T5EncoderModel | None,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        safety_checker: IFSafetyChecker | None,
        feature_extractor: CLIPImageProcessor | None,
        watermarker: IFWatermarker | None,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        if safety_checker is None and requires_safety_checker:
            warn_of_missing_safety_checker(self, "DeepFloyd IF")
        require_feature_extractor(safety_checker, feature_extractor)
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            watermarker=watermarker,
        )
        self.register_to_config(requires_safety_checker=requires_safety_checker)

    # -- prompts ------------------------------------------------------------------------------------------------------

    @device_is_optional
    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        do_classifier_free_guidance: bool = True,
        num_images_per_prompt: int = 1,
        device: Any = None,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        clean_caption: bool = False,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Encode prompts and negative prompts to embeddings [B * num_images_per_prompt, L, D] each.

        The embeddings are those of all stages: pass them as `prompt_embeds` and `negative_prompt_embeds`.

        Args:
            device: has no effect: the result is on the device of the text encoder.
            clean_caption: clean the prompts; see `ppdiffusers.pipelines.stages.captions`.
        """
        with paddle.no_grad():
            conditioning = encode_prompts(
                T5PromptEncoder(self.tokenizer, self.text_encoder, max_length=MAX_TOKENS),
                prompt=_prepared(prompt, clean_caption),
                negative_prompt=_prepared(negative_prompt, clean_caption),
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                num_images_per_prompt=num_images_per_prompt,
                do_classifier_free_guidance=do_classifier_free_guidance,
                dtype=None if self.unet is None else dtype_of(self.unet),
            )
        negative = conditioning.negative_prompt_embeds if do_classifier_free_guidance else None
        return conditioning.prompt_embeds, negative

    def _prompt_embeds(self, prompts: Prompts, sampling: Sampling) -> paddle.Tensor:
        """Embeddings for one call of the network, [2B or B, L, D], the unconditional ones first."""
        embeds, negative_embeds = self.encode_prompt(
            prompts.prompt,
            sampling.guided,
            prompts.num_images_per_prompt,
            self.device,
            negative_prompt=prompts.negative_prompt,
            prompt_embeds=prompts.prompt_embeds,
            negative_prompt_embeds=prompts.negative_prompt_embeds,
            clean_caption=prompts.clean_caption,
        )
        return Conditioning(embeds, negative_embeds).guided()

    # -- denoising ----------------------------------------------------------------------------------------------------

    def prepare_extra_step_kwargs(self, generator: Generator, eta: float) -> dict[str, Any]:
        """Keyword arguments of `scheduler.step`."""
        return step_kwargs(self.scheduler, generator, eta)

    def _set_timesteps(self, num_inference_steps: int, timesteps: Sequence[int] | None) -> tuple[paddle.Tensor, int]:
        """Set all timesteps of a call; return them and their number."""
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(0)
        return timesteps, num_inference_steps

    def _denoise(
        self,
        images: paddle.Tensor,
        prompt_embeds: paddle.Tensor,
        schedule: tuple[paddle.Tensor, int],
        sampling: Sampling,
        after_step: Callable[[int, Tensors], paddle.Tensor] | None = None,
        **inputs: Any,
    ) -> paddle.Tensor:
        """Denoise images [B, C, H, W].

        Args:
            prompt_embeds: [2B or B, L, D].
            schedule: the timesteps and their number.
            after_step: see `DenoisingLoop.run`.
            inputs: arguments of `UNetDenoiser`, such as `class_labels`.
        """
        self._interrupt = False
        channels = images.shape[1]
        learned = reads_variance(self.scheduler)

        def guide(prediction: paddle.Tensor) -> paddle.Tensor:  # [2B or B, 2C, H, W] -> [B, 2C or C, H, W]
            if sampling.guided:
                prediction = guidance_with_variance(prediction, channels, sampling.guidance_scale)
            return prediction if learned else prediction[:, :channels]

        denoiser = UNetDenoiser(
            self.unet, self.scheduler, cross_attention_kwargs=sampling.cross_attention_kwargs, **inputs
        )
        loop = DenoisingLoop(self, *schedule, callback=sampling.callback, callback_steps=sampling.callback_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        tensors = loop.run(
            GuidedPrediction(denoiser, guide),
            {"latents": images, "prompt_embeds": prompt_embeds},
            self.prepare_extra_step_kwargs(sampling.generator, sampling.eta),
            after_step,
        )
        loop.finite.warn()
        return tensors["latents"]

    # -- output -------------------------------------------------------------------------------------------------------

    @device_is_optional
    def run_safety_checker(
        self, image: np.ndarray, device: Any, dtype: paddle.dtype
    ) -> tuple[np.ndarray, list[bool] | None, list[bool] | None]:
        """Check images [B, H, W, 3] in [0, 1]: the images, flagged ones black, and the flags of both kinds."""
        if self.safety_checker is None:
            return image, None, None
        pixels = checker_pixels(self.feature_extractor, self.numpy_to_pil(image), dtype)
        return self.safety_checker(images=image, clip_input=pixels)

    def _output(
        self, images: paddle.Tensor, output_type: str, return_dict: bool, dtype: paddle.dtype
    ) -> IFPipelineOutput | tuple:
        """The output for images [B, 3, H, W]; tensors are for the next stage: neither checked nor clipped."""
        kind = OUTPUT_TYPES[output_type]
        result: Any = images
        flags: tuple[list[bool] | None, list[bool] | None] = (None, None)
        if kind != "pd":
            array = VaeImageProcessor.pd_to_numpy((images / 2 + 0.5).clip(0, 1))  # [B, H, W, 3]
            result, *found = self.run_safety_checker(array, self.device, dtype)
            flags = found[0], found[1]
        if kind == "pil":
            result = self.numpy_to_pil(result)
            if self.watermarker is not None:
                result = self.watermarker.apply_watermark(result, self.unet.config.sample_size)
        if not return_dict:
            return (result, *flags)
        return IFPipelineOutput(images=result, nsfw_detected=flags[0], watermark_detected=flags[1])

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_prompts(
        self,
        prompt: Any,
        callback_steps: Any,
        negative_prompt: Any,
        prompt_embeds: Any,
        negative_prompt_embeds: Any,
    ) -> list[str]:
        """Problems of what every `check_inputs` gets."""
        return [
            *checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            *checks.check_counts(callback_steps=callback_steps),
        ]

    def _check_call(self, prompts: Prompts, sampling: Sampling, **settings: Any) -> list[str]:
        """Problems of what `check_inputs` does not get: components, steps, generators, callback, numbers.

        Args:
            settings: those of `checks.check_sampling`.
        """
        problems = checks.check_numbers(guidance_scale=sampling.guidance_scale, eta=sampling.eta)
        guided = not problems and sampling.guided
        encodes = prompts.prompt_embeds is None or (guided and prompts.negative_prompt_embeds is None)
        return [
            *problems,
            *checks.check_components(self.components, *(("tokenizer", "text_encoder") if encodes else ())),
            *checks.check_sampling(
                scheduler=self.scheduler, num_images_per_prompt=prompts.num_images_per_prompt, **settings
            ),
            *checks.check_generators_of(sampling.generator, prompts.count, prompts.num_images_per_prompt),
            *checks.check_callbacks(callback=sampling.callback),
        ]

    @property
    def _image_channels(self) -> int:
        """Channels of images."""
        return self.unet.config.in_channels

    @property
    def _size_multiple(self) -> int:
        """Height and width of images are multiples of it: each level of the UNet but the last halves them."""
        return 2 ** (len(self.unet.config.block_out_channels) - 1)


def _prepared(prompts: str | list[str] | None, clean: bool) -> str | list[str] | None:
    if prompts is None:
        return None
    return prepare_captions([prompts], clean)[0] if isinstance(prompts, str) else prepare_captions(prompts, clean)
