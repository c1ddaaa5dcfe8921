"""Text-guided inpainting. Nichol et al., "GLIDE: Towards Photorealistic Image Generation and Editing with Text-Guided
Diffusion Models" (arXiv 2112.10741), section 2.4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.pipelines.glide.base import GlideBase, Latents, Respacing
from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.latents import repeat_to
from ppdiffusers.schedulers.common.noise_schedule import VariancePreserving
from ppdiffusers.schedulers.common.prediction import epsilon_of
from ppdiffusers.schedulers.common.stepping import VarianceExploding
from ppdiffusers.utils.pil_modes import rgb_images
from ppdiffusers.utils.resampling import resize_bicubic_antialiased
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.schedulers.scheduling_ddim import DDIMScheduler
    from ppdiffusers.schedulers.scheduling_ddpm import DDPMScheduler


class KnownPixels(NamedTuple):
    """The part of an image that is kept.

    Attributes:
        image: [B, 3, H, W] in [-1, 1].
        keep: [B, 1, H, W], 1 where the image is kept and 0 where it is inpainted.
    """

    image: paddle.Tensor
    keep: paddle.Tensor

    def channels(self) -> list[paddle.Tensor]:
        """What the networks read in addition to the noisy image."""
        return [self.image * self.keep, self.keep]

    def correct(
        self, scheduler: VariancePreserving, prediction: paddle.Tensor, t: Any, latents: paddle.Tensor
    ) -> paddle.Tensor:
        """Replace the predicted noise [B, 2C, H, W] so that the predicted image is the known one where it is kept."""
        noise, variance = prediction.chunk(2, axis=1)
        alpha_bar = scheduler.alpha_bar(t)
        known = epsilon_of(self.image, latents, alpha_bar**0.5, (1 - alpha_bar) ** 0.5)
        return paddle.concat([noise * (1 - self.keep) + known.astype(noise.dtype) * self.keep, variance], axis=1)


class GlideInpaintPipeline(GlideBase):
    """Inpaint images in two stages, with networks that read the known part of the image and the mask.

    The components are those of `GlideBase`.
    """

    scheduler: DDPMScheduler
    upsampler_scheduler: DDIMScheduler

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        mask_image: PipelineImageInput | None = None,
        num_images_per_prompt: int = 1,
        guidance_scale: float = 5.0,
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
        """Inpaint images.

        Args:
            prompt: `num_images_per_prompt` images are generated for each string; "" is the unconditional prompt.
            image: PIL images, which are resized; or an array or tensor of the size of the result.
            mask_image: white (1) where the image is inpainted, black (0) where it is kept; PIL images, which are
                resized, or an array or tensor of the size of the result or of the small image. The original has the
                inverse mask.
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
        problems = self._check_common(
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
        )
        checks.raise_problems(self, problems, self._check_schedulers(), self._check_images(image, mask_image))
        generator = as_generator(generator)
        batch_size = checks.num_prompts(prompt) * num_images_per_prompt
        small_known, known = self._known_pixels(image, mask_image, batch_size)

        # 1. small images, with guidance
        conditioning = self.encode_prompt(self.text_encoder, prompt, num_images_per_prompt, guidance_scale != 1)
        small = self._generate_small(
            conditioning,
            guidance_scale,
            respacing,
            generator,
            latents,
            callbacks,
            extra_channels=small_known.channels(),
            correct=lambda *step: small_known.correct(self.scheduler, *step),
        )  # [B, 3, h, w]

        # 2. images, without guidance
        conditioning = self.encode_prompt(self.upsampler_text_encoder, prompt, num_images_per_prompt, guided=False)
        result = self._upsample(
            small,
            conditioning,
            upsampler_respacing,
            upsample_temp,
            generator,
            upsampler_latents,
            callbacks,
            extra_channels=known.channels(),
            correct=lambda *step: known.correct(self.upsampler_scheduler, *step),
        )  # [B, 3, H, W]
        return self._output(result, output_type, return_dict)

    def _known_pixels(self, image: Any, mask_image: Any, batch_size: int) -> tuple[KnownPixels, KnownPixels]:
        """Return the known pixels of small images and of images, for a batch."""
        sizes = self._sizes()
        dtype = self.unet.conv_in.weight.dtype
        mask = self._mask(mask_image, sizes[0])  # [N, 1, h, w]
        found = []
        for size in sizes:
            pixels = repeat_to(self._pixels(image, size), batch_size).astype(dtype)
            resized = F.interpolate(1 - mask, size=[size, size], mode="nearest")
            found.append(KnownPixels(pixels, repeat_to(resized, batch_size, "mask_image").astype(dtype)))
        return found[0], found[1]

    def _pixels(self, image: Any, size: int) -> paddle.Tensor:  # [N, 3, size, size] in [-1, 1]
        if _is_pil(image):
            return self.image_processor.preprocess(rgb_images(image), size, size)
        pixels = self.image_processor.preprocess(image)
        return pixels if pixels.shape[2] == size else resize_bicubic_antialiased(pixels, (size, size))

    def _mask(self, mask: Any, size: int) -> paddle.Tensor:  # [N, 1, size, size] of 0 and 1
        processor = VaeImageProcessor(
            vae_scale_factor=1, resample="nearest", do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )
        if _is_pil(mask):
            return processor.preprocess(mask, size, size)
        return F.interpolate(processor.preprocess(mask), size=[size, size], mode="nearest")

    def _sizes(self) -> tuple[int, int]:
        """Return the sizes of small images and of images."""
        return self.unet.config.sample_size, self.upsampler.config.sample_size

    def _check_schedulers(self) -> list[str]:
        """Noisy images are alpha x_0 + sigma eps, which `KnownPixels.correct` assumes."""
        schedulers = {"scheduler": self.scheduler, "upsampler_scheduler": self.upsampler_scheduler}
        return [
            f"`{name}` must be a variance-preserving one, such as DDPMScheduler, not {type(scheduler).__name__}"
            for name, scheduler in schedulers.items()
            if scheduler is not None
            and (not isinstance(scheduler, VariancePreserving) or isinstance(scheduler, VarianceExploding))
        ]

    def _check_images(self, image: Any, mask_image: Any) -> list[str]:
        problems = checks.check_images(image=image, mask_image=mask_image)
        if problems or self.unet is None or self.upsampler is None:
            return problems
        small, large = self._sizes()
        for name, value, allowed in (("image", image, (large,)), ("mask_image", mask_image, (large, small))):
            height, width = checks.size_of(value)
            if not _is_pil(value) and (height != width or height not in allowed):
                expected = " or ".join(f"{size}x{size}" for size in allowed)
                problems.append(f"`{name}` has {height}x{width} pixels, expected {expected}; PIL images are resized")
        return problems


def _is_pil(image: Any) -> bool:
    first = image[0] if isinstance(image, list | tuple) else image
    return not isinstance(first, paddle.Tensor | np.ndarray) and isinstance(first, PIL.Image.Image)
