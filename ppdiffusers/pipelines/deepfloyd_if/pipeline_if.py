"""Text to image, the first stage. Saharia et al., "Photorealistic Text-to-Image Diffusion Models with Deep Language
Understanding" (Imagen), arXiv 2205.11487."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppdiffusers.pipelines.deepfloyd_if.base import IFBase, Prompts, Sampling
from ppdiffusers.pipelines.deepfloyd_if.pipeline_output import IFPipelineOutput
from ppdiffusers.pipelines.deepfloyd_if.starts import StartsFromNoise
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.utils.torch_utils import Generator


class IFPipeline(StartsFromNoise, IFBase):
    """Generate small images from prompts; the components are those of `IFBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        num_inference_steps: int = 100,
        timesteps: Sequence[int] | None = None,
        guidance_scale: float = 7.0,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        height: int | None = None,
        width: int | None = None,
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
        """Generate images from prompts.

        Args:
            prompt: one image (or `num_images_per_prompt`) is generated for each string.
            num_inference_steps: number of denoising steps.
            timesteps: explicit steps in descending order, such as `smart50_timesteps`.
            guidance_scale: classifier-free guidance; at 1 or less there is no guidance.
            negative_prompt: what the images should not show; it has no effect without guidance.
            num_images_per_prompt: number of images for each prompt.
            height, width: in pixels; by default the UNet's `sample_size`.
            eta: of DDIM, 0 to 1: how much noise is added in each step.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            prompt_embeds, negative_prompt_embeds: [B, L, D] from `encode_prompt`, used instead of the strings.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), or "pd": a tensor [B, 3, H, W] in [-1, 1] for the next
                stage, which is neither checked nor watermarked.
            return_dict: if False, return `(images, nsfw_detected, watermark_detected)`.
            callback, callback_steps: `callback(index, timestep, images)` is called every `callback_steps` steps.
            clean_caption: clean the prompts with `beautifulsoup4`; see `ppdiffusers.pipelines.stages.captions`.
            cross_attention_kwargs: keyword arguments of the UNet's attention processors.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "scheduler"))
        height, width = height or self.unet.config.sample_size, width or self.unet.config.sample_size
        sampling = Sampling(guidance_scale, eta, generator, callback, callback_steps, cross_attention_kwargs)
        prompts = Prompts(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, num_images_per_prompt, clean_caption
        )
        checks.raise_problems(
            self,
            checks.problems_of(self.check_inputs, callback_steps=callback_steps, **prompts.given),
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
            self.unet.config.in_channels,
            height,
            width,
            embeds.dtype,
            self.device,
            sampling.generator,
        )  # [B, C, H, W]

        # 3. denoise
        images = self._denoise(images, embeds, schedule, sampling)
        return self._output(images, output_type, return_dict, embeds.dtype)

    def check_inputs(
        self,
        prompt: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_prompts(prompt, callback_steps, negative_prompt, prompt_embeds, negative_prompt_embeds),
        )
