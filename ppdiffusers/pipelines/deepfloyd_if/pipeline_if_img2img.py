"""Image to image, the first stage: a noised image is denoised with a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.deepfloyd_if.base import IFBase, Prompts, Sampling
from ppdiffusers.pipelines.deepfloyd_if.pipeline_output import IFPipelineOutput
from ppdiffusers.pipelines.deepfloyd_if.starts import StartsFromImage
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.pipelines.stages.timesteps import first_timestep
from ppdiffusers.utils.torch_utils import Generator


class IFImg2ImgPipeline(StartsFromImage, IFBase):
    """Generate variations of small images, guided by prompts; the components are those of `IFBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        strength: float = 0.7,
        num_inference_steps: int = 80,
        timesteps: Sequence[int] | None = None,
        guidance_scale: float = 10.0,
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
        clean_caption: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> IFPipelineOutput | tuple:
        """Generate images from images and prompts.

        Arguments that are not listed are those of `IFPipeline`.

        Args:
            image: one for each prompt: PIL images, which are resized to the UNet's `sample_size`; arrays [N, H, W, 3]
                or tensors [N, 3, H, W] in [-1, 1]; or a list.
            strength: 0 to 1: the fraction of the steps to run, from an image with the noise of the first of them.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "scheduler"))
        sampling = Sampling(guidance_scale, eta, generator, callback, callback_steps, cross_attention_kwargs)
        prompts = Prompts(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, num_images_per_prompt, clean_caption
        )
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs, image=image, batch_size=prompts.count, callback_steps=callback_steps, **prompts.given
            ),
            checks.check_strength(strength),
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

        # 2. timesteps and the noised images
        _, num_inference_steps = self._set_timesteps(num_inference_steps, timesteps)
        schedule = self.get_timesteps(num_inference_steps, strength)
        images = self.prepare_intermediate_images(
            self.preprocess_image(image),
            first_timestep(schedule[0], prompts.batch_size),
            prompts.count,
            num_images_per_prompt,
            embeds.dtype,
            self.device,
            sampling.generator,
        )  # [B, C, H, W]

        # 3. denoise
        images = self._denoise(images, embeds, schedule, sampling)
        return self._output(images, output_type, return_dict, embeds.dtype)

    def preprocess_image(self, image: PipelineImageInput) -> paddle.Tensor:
        """Images [N, C, H, W] in [-1, 1]; PIL images are resized to the UNet's `sample_size`."""
        return self._known_pixels(image)

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        batch_size: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_prompts(prompt, callback_steps, negative_prompt, prompt_embeds, negative_prompt_embeds),
            self._check_known("image", image, batch_size),
        )
