"""What the pipelines of unCLIP share: CLIP's embeddings of prompts, the decoder, the upscaler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import paddle
import paddle.nn.functional as F

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages import latents as latents_stage
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.guidance import guidance_with_variance
from ppdiffusers.pipelines.stages.prior import EncodedPrompts
from ppdiffusers.pipelines.stages.prompt_encoders import PromptEncoder
from ppdiffusers.pipelines.stages.timesteps import host_timesteps, retrieve_timesteps
from ppdiffusers.utils.resampling import resize_bicubic_antialiased
from ppdiffusers.utils.torch_utils import Generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel
    from ppdiffusers.schedulers.scheduling_unclip import UnCLIPScheduler
    from ppdiffusers.transformers import CLIPTextModelWithProjection, CLIPTokenizer

Latents: TypeAlias = paddle.Tensor | np.ndarray | None


class UnCLIPBase(DiffusionPipeline):
    """A pipeline that ends in the decoder and the upscaler of unCLIP."""

    decoder: UNet2DConditionModel
    text_encoder: CLIPTextModelWithProjection
    tokenizer: CLIPTokenizer
    text_proj: UnCLIPTextProjModel
    super_res_first: UNet2DModel
    super_res_last: UNet2DModel
    decoder_scheduler: UnCLIPScheduler
    super_res_scheduler: UnCLIPScheduler

    def _register(self, **components: Any) -> None:
        """Register the components and create the image processor."""
        self.register_modules(**components)
        self.image_processor = VaeImageProcessor()

    @property
    def _prompt_encoder(self) -> PromptEncoder:
        return PromptEncoder(self.tokenizer, self.text_encoder)

    # -- denoising ----------------------------------------------------------------------------------------------------

    @device_is_optional
    def prepare_latents(
        self,
        shape: tuple[int, ...],
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        latents: Latents,
        scheduler: UnCLIPScheduler,
    ) -> paddle.Tensor:
        """Initial noise of this shape, drawn or given.

        Raises:
            InputError: given latents have another shape.
        """
        if latents is not None and tuple(latents.shape) != tuple(shape):
            raise InputError(f"The latents have shape {tuple(latents.shape)}.", expected=f"{tuple(shape)}")
        return latents_stage.initial_latents(shape, scheduler.init_noise_sigma, dtype, generator, latents)

    def _denoise(
        self,
        sample: paddle.Tensor,
        scheduler: UnCLIPScheduler,
        num_inference_steps: int,
        generator: Generator,
        predict: Callable[[paddle.Tensor, Any, bool], paddle.Tensor],
        finite: FiniteCheck,
    ) -> paddle.Tensor:
        """Denoise samples [B, ...] with `predict(sample, timestep, is_last)`."""
        for t, previous in self._steps(scheduler, num_inference_steps):
            prediction = predict(sample, t, previous is None)
            step = scheduler.step(prediction, t, sample, prev_timestep=previous, generator=generator, return_dict=False)
            sample = step[0]
            finite.note(f"denoising at timestep {t}", sample)
        return sample

    def _steps(self, scheduler: UnCLIPScheduler, num_inference_steps: int) -> Iterator[tuple[Any, Any]]:
        """Yield each timestep and the next one, which is None at the end, behind a progress bar."""
        retrieve_timesteps(scheduler, num_inference_steps)
        timesteps = host_timesteps(scheduler)
        following = [*timesteps[1:], None]
        yield from zip(self.progress_bar(timesteps), following, strict=True)

    def _decode_embeddings(
        self,
        image_embeddings: paddle.Tensor,
        prompts: EncodedPrompts,
        num_inference_steps: int,
        guidance_scale: float,
        guided: bool,
        generator: Generator,
        latents: Latents,
        finite: FiniteCheck,
    ) -> paddle.Tensor:
        """Generate small images [B, 3, h, w] in [-1, 1] from image embeddings [B, D].

        Args:
            guided: whether `prompts` contains the unconditional half.
        """
        tokens, time = self.text_proj(
            image_embeddings=image_embeddings,
            prompt_embeds=prompts.embeds,
            text_encoder_hidden_states=prompts.hidden_states,
            do_classifier_free_guidance=guided,
        )  # [N, T + L, C], [N, time_embed_dim]
        extra = self.text_proj.clip_extra_context_tokens
        mask = F.pad(prompts.mask.unsqueeze(1), [extra, 0], value=1, data_format="NCL").squeeze(1)
        channels, size = self.decoder.config.in_channels, self.decoder.config.sample_size
        shape = (image_embeddings.shape[0], channels, size, size)
        latents = self.prepare_latents(shape, tokens.dtype, self.device, generator, latents, self.decoder_scheduler)

        def predict(sample: paddle.Tensor, t: Any, is_last: bool) -> paddle.Tensor:  # [B, 2C, h, w]
            model_input = paddle.concat([sample] * 2) if guided else sample
            prediction = self.decoder(
                model_input,
                t,
                encoder_hidden_states=tokens,
                class_labels=time,
                attention_mask=mask,
                return_dict=False,
            )[0]
            if not guided:
                return prediction
            return guidance_with_variance(prediction, channels, guidance_scale)

        sample = self._denoise(latents, self.decoder_scheduler, num_inference_steps, generator, predict, finite)
        return sample.clip(-1, 1)

    def _upscale(
        self,
        image_small: paddle.Tensor,
        num_inference_steps: int,
        generator: Generator,
        latents: Latents,
        finite: FiniteCheck,
    ) -> paddle.Tensor:
        """Generate images [B, 3, H, W], about in [-1, 1], from small ones [B, 3, h, w]; the last step has its own
        network."""
        config = self.super_res_first.config
        size = (config.sample_size, config.sample_size)
        shape = (image_small.shape[0], config.in_channels // 2, *size)
        latents = self.prepare_latents(
            shape, image_small.dtype, self.device, generator, latents, self.super_res_scheduler
        )
        upscaled = resize_bicubic_antialiased(image_small, size)  # [B, 3, H, W]

        def predict(sample: paddle.Tensor, t: Any, is_last: bool) -> paddle.Tensor:  # [B, C, H, W]
            unet = self.super_res_last if is_last else self.super_res_first
            return unet(paddle.concat([sample, upscaled], axis=1), t, return_dict=False)[0]

        return self._denoise(latents, self.super_res_scheduler, num_inference_steps, generator, predict, finite)

    def _output(
        self, image: paddle.Tensor, output_type: str, return_dict: bool, finite: FiniteCheck
    ) -> ImagePipelineOutput | tuple:
        finite.warn()
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_common(
        self,
        *,
        batch: int | None,
        generator: Any,
        output_type: Any,
        num_images_per_prompt: Any,
        decoder_guidance_scale: Any,
        decoder_num_inference_steps: Any,
        super_res_num_inference_steps: Any,
        decoder_latents: Any,
        super_res_latents: Any,
    ) -> list[str]:
        """Problems of the arguments that all pipelines have.

        Args:
            batch: number of prompts or images; None if it is unknown.
        """
        problems = [
            *checks.check_components(self.components, "decoder", "text_proj", "super_res_first", "super_res_last"),
            *checks.check_counts(
                num_images_per_prompt=num_images_per_prompt,
                decoder_num_inference_steps=decoder_num_inference_steps,
                super_res_num_inference_steps=super_res_num_inference_steps,
            ),
            *checks.check_numbers(decoder_guidance_scale=decoder_guidance_scale),
            *checks.check_output_type(output_type),
            *checks.check_generators_of(generator, batch, num_images_per_prompt),
        ]
        if problems:
            return problems
        count = None if batch is None else batch * num_images_per_prompt
        decoder, upscaler = self.decoder.config, self.super_res_first.config
        decoder_shape = (count, decoder.in_channels, decoder.sample_size, decoder.sample_size)
        upscaler_shape = (count, upscaler.in_channels // 2, upscaler.sample_size, upscaler.sample_size)
        return [
            *named("decoder_latents", checks.check_latents(decoder_latents, decoder_shape)),
            *named("super_res_latents", checks.check_latents(super_res_latents, upscaler_shape)),
        ]


def named(name: str, problems: list[str]) -> list[str]:
    """Problems of `latents`, reported for an argument with another name."""
    return [problem.replace("`latents`", f"`{name}`") for problem in problems]
