"""Text to image. Nichol et al., "GLIDE: Towards Photorealistic Image Generation and Editing with Text-Guided Diffusion
Models" (arXiv 2112.10741)."""

from __future__ import annotations

from collections.abc import Sequence

from ppdiffusers.pipelines.glide.base import GlideBase, Latents, Respacing
from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import StepCallbacks, StepEndCallback, inference
from ppdiffusers.utils.torch_utils import Generator, as_generator


class GlidePipeline(GlideBase):
    """Generate images from prompts in two stages: small images with guidance, and from them the images.

    The components are those of `GlideBase`.
    """

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        num_images_per_prompt: int = 1,
        guidance_scale: float = 3.0,
        respacing: Respacing = "100",
        upsampler_respacing: Respacing = "fast27",
        upsample_temp: float = 0.997,
        generator: Generator = None,
        latents: Latents = None,
        upsampler_latents: Latents = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            prompt: `num_images_per_prompt` images are generated for each string; "" is the unconditional prompt.
            guidance_scale: of the base model (equation 5 of the paper); 1 is none.
            respacing: timesteps of the base model: a number, "100", "ddim50", "10,5,2", see `respaced_timesteps`.
            upsampler_respacing: timesteps of the upsampler, such as "fast27".
            upsample_temp: factor of the upsampler's initial noise; less is smoother.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image. A seed gives the image of the
                original repository.
            latents, upsampler_latents: initial noise [B, 3, h, w] and [B, 3, H, W].
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent"
                (a tensor in [-1, 1]).
            return_dict: if False, return `(images,)`.
            callback_on_step_end, callback_on_step_end_tensor_inputs: see `DenoisingLoop`; called in both stages.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs)
        checks.raise_problems(
            self,
            self._check_common(
                prompt=prompt,
                num_images_per_prompt=num_images_per_prompt,
                guidance_scale=guidance_scale,
                respacing=respacing,
                upsampler_respacing=upsampler_respacing,
                upsample_temp=upsample_temp,
                generator=generator,
                latents=latents,
                upsampler_latents=upsampler_latents,
                output_type=output_type,
                callbacks=callbacks,
            ),
        )
        generator = as_generator(generator)

        # 1. small images, with guidance
        conditioning = self.encode_prompt(self.text_encoder, prompt, num_images_per_prompt, guidance_scale != 1)
        small = self._generate_small(
            conditioning, guidance_scale, respacing, generator, latents, callbacks
        )  # [B, 3, h, w]

        # 2. images, without guidance
        conditioning = self.encode_prompt(self.upsampler_text_encoder, prompt, num_images_per_prompt, guided=False)
        image = self._upsample(
            small, conditioning, upsampler_respacing, upsample_temp, generator, upsampler_latents, callbacks
        )  # [B, 3, H, W]
        return self._output(image, output_type, return_dict)
