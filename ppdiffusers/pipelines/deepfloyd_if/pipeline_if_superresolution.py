"""Super-resolution, the second stage: from small images to large ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.deepfloyd_if.base import Prompts, Sampling
from ppdiffusers.pipelines.deepfloyd_if.pipeline_output import IFPipelineOutput
from ppdiffusers.pipelines.deepfloyd_if.starts import StartsFromNoise
from ppdiffusers.pipelines.deepfloyd_if.super_resolution import IFSuperResolutionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.utils.torch_utils import Generator


class IFSuperResolutionPipeline(StartsFromNoise, IFSuperResolutionBase):
    """Enlarge images, guided by prompts; the components are those of `IFSuperResolutionBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | None = None,
        guidance_scale: float = 4.0,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        noise_level: int = 250,
        clean_caption: bool = True,
    ) -> IFPipelineOutput | tuple:
        """Enlarge images.

        Arguments that are not listed are those of `IFPipeline`.

        Args:
            image: one for each prompt: the output of the first stage with `output_type="pd"`, a tensor [N, 3, h, w] in
                [-1, 1]; arrays [N, h, w, 3] in [-1, 1]; PIL images; or a list.
            height, width: of the result, in pixels; by default the UNet's `sample_size`.
            timesteps: explicit steps in descending order, such as `super40_timesteps`.
            noise_level: timestep whose noise is added to the image, which hides its defects from the network.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, self._check_networks())
        height, width = height or self.unet.config.sample_size, width or self.unet.config.sample_size
        sampling = Sampling(guidance_scale, eta, generator, callback, callback_steps, cross_attention_kwargs)
        prompts = Prompts(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, num_images_per_prompt, clean_caption
        )
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                image=image,
                batch_size=prompts.count,
                noise_level=noise_level,
                callback_steps=callback_steps,
                **prompts.given,
            ),
            checks.check_size(height=height, width=width, multiple=self._size_multiple),
            self._check_call(
                prompts,
                sampling,
                num_inference_steps=num_inference_steps,
                output_type=output_type,
                timesteps=timesteps,
            ),
        )
        sampling = sampling.with_stream()

        # 1. encode the prompts
        embeds = self._prompt_embeds(prompts, sampling)  # [2B or B, L, D]

        # 2. timesteps and initial noise
        schedule = self._set_timesteps(num_inference_steps, timesteps)
        images = self.prepare_intermediate_images(
            prompts.batch_size,
            self._image_channels,
            height,
            width,
            embeds.dtype,
            self.device,
            sampling.generator,
        )  # [B, C, H, W]

        # 3. denoise, given the small images
        small = self._low_resolution(image, (height, width), noise_level, prompts, sampling)
        images = self._denoise(images, embeds, schedule, sampling, **small)
        return self._output(images, output_type, return_dict, embeds.dtype)

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        batch_size: Any,
        noise_level: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_prompts(prompt, callback_steps, negative_prompt, prompt_embeds, negative_prompt_embeds),
            self._check_noise_level(noise_level),
            self._check_low_resolution(image, batch_size),
        )
