"""What the pipelines of GLIDE share: encoded prompts, the base model and the upsampler, the checks of a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import paddle
import paddle.nn.functional as F

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random import RecordedNoise
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import DenoisingLoop, GuidedPrediction, StepCallbacks, UNetDenoiser
from ppdiffusers.pipelines.stages.guidance import guidance_with_variance, reads_variance
from ppdiffusers.pipelines.stages.latents import initial_latents
from ppdiffusers.pipelines.stages.prompt_encoders import Conditioning
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.schedulers.common.respacing import respaced_timesteps
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.transformers.glide_text import GlideTextModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers.glide.tokenization import GlideTokenizer

logger = get_logger(__name__)

Latents: TypeAlias = paddle.Tensor | np.ndarray | None
Respacing: TypeAlias = str | int | Sequence[int]
# (prediction [B, 2C, h, w], timestep, latents [B, C, h, w]) -> prediction
Correction: TypeAlias = Callable[[paddle.Tensor, Any, paddle.Tensor], paddle.Tensor]
NETWORKS = ("unet", "text_encoder", "upsampler", "upsampler_text_encoder")


class GlideBase(DiffusionPipeline):
    """A pipeline with the components of GLIDE.

    Args:
        unet, text_encoder, scheduler: the base model, which generates small images.
        upsampler, upsampler_text_encoder, upsampler_scheduler: the upsampler, which generates images from them.
        tokenizer: of both text encoders.
    """

    unet: UNet2DConditionModel
    text_encoder: GlideTextModel
    scheduler: Scheduler
    upsampler: UNet2DConditionModel
    upsampler_text_encoder: GlideTextModel
    upsampler_scheduler: Scheduler
    tokenizer: GlideTokenizer

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: GlideTextModel,
        upsampler: UNet2DConditionModel,
        upsampler_text_encoder: GlideTextModel,
        tokenizer: GlideTokenizer,
        scheduler: Scheduler,
        upsampler_scheduler: Scheduler,
    ):
        super().__init__()
        self.register_modules(
            unet=unet,
            text_encoder=text_encoder,
            upsampler=upsampler,
            upsampler_text_encoder=upsampler_text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            upsampler_scheduler=upsampler_scheduler,
        )
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, resample="bicubic", do_convert_rgb=True)

    # -- the prompt ---------------------------------------------------------------------------------------------------

    def encode_prompt(
        self, text_encoder: GlideTextModel, prompt: str | list[str], num_images_per_prompt: int = 1, guided: bool = True
    ) -> Conditioning:
        """Encode prompts with one of the text encoders; the pooled embeddings are added to the time embedding.

        Args:
            guided: whether to encode the empty prompt, too.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        states, time = self._encode(text_encoder, prompts)
        states, time = (x.repeat_interleave(num_images_per_prompt, axis=0) for x in (states, time))
        if not guided:
            return Conditioning(states, pooled_prompt_embeds=time)
        empty_states, empty_time = self._encode(text_encoder, [""])
        return Conditioning(
            states,
            empty_states.expand_as(states),
            pooled_prompt_embeds=time,
            negative_pooled_prompt_embeds=empty_time.expand_as(time),
        )

    def _encode(self, text_encoder: GlideTextModel, prompts: list[str]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return states [B, L, width] and additions to the time embedding [B, time_embed_dim]."""
        length = text_encoder.config.text_ctx
        tokens = [self.tokenizer.encode(prompt) for prompt in prompts]
        removed = [self.tokenizer.decode(ids[length:]) for ids in tokens if len(ids) > length]
        if removed:
            logger.warning(
                "The text encoder reads %d tokens. This part of the prompt is truncated: %s.",
                length,
                " | ".join(removed),
            )
        padded = [self.tokenizer.padded_tokens_and_mask(ids, length) for ids in tokens]
        ids = paddle.to_tensor(np.array([ids for ids, _ in padded], dtype=np.int64))  # [B, L]
        mask = paddle.to_tensor(np.array([mask for _, mask in padded], dtype=np.int64))  # [B, L]
        return text_encoder(ids, mask, return_dict=False)

    # -- the two stages -----------------------------------------------------------------------------------------------

    def _generate_small(
        self,
        conditioning: Conditioning,
        guidance_scale: float,
        respacing: Respacing,
        generator: Generator,
        latents: Latents,
        callbacks: StepCallbacks,
        extra_channels: Sequence[paddle.Tensor] = (),
        correct: Correction | None = None,
    ) -> paddle.Tensor:
        """Sample from the base model with classifier-free guidance (section 2.3): [B, 3, h, w] in [-1, 1]."""
        timesteps, steps = self._timesteps(self.scheduler, respacing)
        shape = (conditioning.prompt_embeds.shape[0], 3, *[self.unet.config.sample_size] * 2)
        dtype = conditioning.prompt_embeds.dtype
        if latents is None:
            latents = _draw(shape, generator, dtype)
        # The original draws noise in the last step too. The upsampler's noise comes after it.
        noises = RecordedNoise([_draw(shape, generator, dtype).numpy() for _ in range(steps)])
        guided = conditioning.negative_prompt_embeds is not None
        copies = 2 if guided else 1
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            class_labels=conditioning.guided_pooled(),
            extra_channels=[channels.tile([copies, 1, 1, 1]) for channels in extra_channels],
        )

        def guide(prediction: paddle.Tensor) -> paddle.Tensor:
            return guidance_with_variance(prediction, shape[1], guidance_scale) if guided else prediction

        loop = callbacks.loop(self, timesteps, steps)
        latents = initial_latents(shape, self.scheduler.init_noise_sigma, dtype, latents=latents)
        return self._denoise(loop, GuidedPrediction(denoiser, guide), conditioning, latents, noises, correct)

    def _upsample(
        self,
        small: paddle.Tensor,
        conditioning: Conditioning,
        respacing: Respacing,
        upsample_temp: float,
        generator: Generator,
        latents: Latents,
        callbacks: StepCallbacks,
        extra_channels: Sequence[paddle.Tensor] = (),
        correct: Correction | None = None,
    ) -> paddle.Tensor:
        """Sample from the upsampler (section 3.1), conditioned on small images [B, 3, h, w]: [B, 3, H, W]."""
        scheduler = self.upsampler_scheduler
        timesteps, steps = self._timesteps(scheduler, respacing)
        size = [self.upsampler.config.sample_size] * 2
        low_res = F.interpolate(as_8_bits(small), size=size, mode="bilinear", align_corners=False)  # [B, 3, H, W]
        shape, dtype = (small.shape[0], 3, *size), small.dtype
        sigma = scheduler.init_noise_sigma * upsample_temp
        latents = initial_latents(shape, sigma, dtype, generator, latents)
        denoiser = UNetDenoiser(
            self.upsampler,
            scheduler,
            class_labels=conditioning.guided_pooled(),
            extra_channels=[*extra_channels, low_res],
        )
        loop = callbacks.loop(self, timesteps, steps, scheduler)
        return self._denoise(loop, GuidedPrediction(denoiser, _unchanged), conditioning, latents, generator, correct)

    def _denoise(
        self,
        loop: DenoisingLoop,
        predict: GuidedPrediction,
        conditioning: Conditioning,
        latents: paddle.Tensor,
        generator: Generator,
        correct: Correction | None,
    ) -> paddle.Tensor:
        scheduler = loop.scheduler
        learned = reads_variance(scheduler)

        def corrected(index: int, t: Any, tensors: dict[str, Any]) -> paddle.Tensor:
            prediction = predict(index, t, tensors)  # [B, 2C, h, w]
            if correct is not None:
                prediction = correct(prediction, t, tensors["latents"])
            return prediction if learned else prediction.chunk(2, axis=1)[0]

        tensors = {"latents": latents, "prompt_embeds": conditioning.guided()}
        sample = loop.run(corrected, tensors, _step_kwargs(scheduler, generator))["latents"]
        loop.finite.warn()
        return sample

    @staticmethod
    def _timesteps(scheduler: Scheduler, respacing: Respacing) -> tuple[paddle.Tensor, int]:
        steps = respaced_timesteps(respacing, scheduler.config.num_train_timesteps)
        return retrieve_timesteps(scheduler, timesteps=steps)

    def _output(
        self, image: paddle.Tensor, output_type: str | None, return_dict: bool
    ) -> ImagePipelineOutput | tuple[Any]:
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_common(
        self,
        *,
        prompt: Any,
        num_images_per_prompt: Any,
        guidance_scale: Any,
        respacing: Any,
        upsampler_respacing: Any,
        upsample_temp: Any,
        generator: Any,
        latents: Any,
        upsampler_latents: Any,
        output_type: Any,
        callbacks: StepCallbacks,
    ) -> list[str]:
        """Problems of the arguments that both pipelines have."""
        problems = [
            *checks.check_components(self.components, *NETWORKS, "tokenizer", "scheduler", "upsampler_scheduler"),
            *(["`prompt` is required"] if prompt is None else checks.check_strings("prompt", prompt)),
            *checks.check_counts(num_images_per_prompt=num_images_per_prompt),
            *checks.check_numbers(guidance_scale=guidance_scale, upsample_temp=upsample_temp),
            *checks.check_output_type(output_type),
            *callbacks.check(),
            *checks.check_callbacks(tensor_inputs=callbacks.tensor_inputs, allowed=("latents", "prompt_embeds")),
        ]
        if problems:
            return problems
        count = checks.num_prompts(prompt) * num_images_per_prompt
        small, large = self.unet.config.sample_size, self.upsampler.config.sample_size
        return [
            *_check_respacing("respacing", respacing, self.scheduler),
            *_check_respacing("upsampler_respacing", upsampler_respacing, self.upsampler_scheduler),
            *checks.check_generator(generator, count),
            *checks.check_latents(latents, (count, 3, small, small)),
            *(
                problem.replace("`latents`", "`upsampler_latents`")
                for problem in checks.check_latents(upsampler_latents, (count, 3, large, large))
            ),
        ]


def as_8_bits(image: paddle.Tensor) -> paddle.Tensor:
    """Round an image in [-1, 1] to the values of 8 bits, with which the upsampler was trained."""
    return ((image + 1) * 127.5).round() / 127.5 - 1


def _draw(shape: Sequence[int], generator: Generator, dtype: paddle.dtype) -> paddle.Tensor:
    """Draw noise [B, ...] as the original, whose batch has B unconditional samples, too."""
    generator = [*generator, *generator] if isinstance(generator, list) else generator
    return randn_tensor((2 * shape[0], *shape[1:]), generator=generator, dtype=dtype)[: shape[0]]


def _unchanged(prediction: paddle.Tensor) -> paddle.Tensor:
    return prediction


def _step_kwargs(scheduler: Scheduler, generator: Generator) -> dict[str, Any]:
    """DDIM computes the noise from the clipped image, as in the original."""
    clipped = "use_clipped_model_output" in inspect.signature(scheduler.step).parameters
    return {"generator": generator, **({"use_clipped_model_output": True} if clipped else {})}


def _check_respacing(name: str, respacing: Any, scheduler: Scheduler) -> list[str]:
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        return [f"`{name}` requires a scheduler with custom timesteps, which {type(scheduler).__name__} does not have"]
    try:
        respaced_timesteps(respacing, scheduler.config.num_train_timesteps)
    except InputError as error:
        details = "; ".join(error.problems)
        return [f"`{name}` {respacing!r}: {error.what} {details}".rstrip() + f" Expected: {error.expected}"]
    return []
