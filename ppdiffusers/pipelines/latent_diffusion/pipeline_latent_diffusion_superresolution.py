"""Super-resolution: latent diffusion conditioned on a low-resolution image (arXiv 2112.10752, section 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.latents import decode, initial_latents
from ppdiffusers.pipelines.stages.timesteps import host_timesteps, step_kwargs
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.pil_modes import to_rgb
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.vq_model import VQModel
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.common.types import Scheduler

_MULTIPLE = 32  # height and width of PIL images are rounded down to a multiple


class LDMSuperResolutionPipeline(DiffusionPipeline):
    """Upscale images by a factor of four: the latents have the size of the low-resolution image.

    Args:
        vqvae: decodes latents to images.
        unet: predicts the noise from latents and low-resolution image (3 + 3 channels).
        scheduler: `DDIMScheduler`, or another one with the same arguments of `step`.
    """

    vqvae: VQModel
    unet: UNet2DModel
    scheduler: Scheduler

    def __init__(self, vqvae: VQModel, unet: UNet2DModel, scheduler: Scheduler):
        super().__init__()
        self.register_modules(vqvae=vqvae, unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(vae_scale_factor=_MULTIPLE)

    @inference
    def __call__(
        self,
        image: PIL.Image.Image | paddle.Tensor | np.ndarray | None = None,
        batch_size: int = 1,
        num_inference_steps: int = 100,
        eta: float = 0.0,
        generator: Generator = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Upscale images.

        Args:
            image: a PIL image, whose height and width are rounded down to multiples of 32, or a batch [B, 3, H, W] in
                [-1, 1], whose height and width are divisible by the downsampling of the UNet.
            batch_size: has no effect: the batch is that of `image`.
            num_inference_steps: number of denoising steps.
            eta: of DDIM, 0 to 1: how much noise is added in each step.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        config = self.unet.config
        channels = config.in_channels // 2
        checks.raise_problems(
            self,
            _check_image(image, config.in_channels - channels, 2 ** (len(config.block_out_channels) - 1)),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=1,
                output_type=output_type,
                eta=eta,
            ),
            checks.check_generator(generator, 1 if isinstance(image, PIL.Image.Image) else len(np.atleast_1d(image))),
        )
        generator = as_generator(generator)
        dtype = dtype_of(self.unet)
        image = self._prepare(image).astype(dtype)  # [B, 3, h, w]
        shape = (image.shape[0], channels, *image.shape[2:])
        self.scheduler.set_timesteps(num_inference_steps)
        latents = initial_latents(shape, self.scheduler.init_noise_sigma, dtype, generator)
        extra_step_kwargs = step_kwargs(self.scheduler, generator, eta)

        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            model_input = self.scheduler.scale_model_input(paddle.concat([latents, image], axis=1), t)
            noise_pred = self.unet(model_input, t).sample  # [B, 3, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs).prev_sample
            finite.note(f"denoising at timestep {t}", latents)

        if output_type != "latent":  # these latents are not scaled
            latents = decode(self.vqvae, latents, finite)  # [B, 3, 4h, 4w]
        finite.warn()
        images = self.image_processor.postprocess(latents, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _prepare(self, image: PIL.Image.Image | paddle.Tensor | np.ndarray) -> paddle.Tensor:
        if isinstance(image, PIL.Image.Image):
            return self.image_processor.preprocess(to_rgb(image))
        return paddle.to_tensor(image) if isinstance(image, np.ndarray) else image


def _check_image(image: Any, channels: int, multiple: int) -> list[str]:
    """A PIL image of at least 32 x 32, or a finite batch with height and width that are multiples of `multiple`."""
    if isinstance(image, PIL.Image.Image):
        return [] if min(image.size) >= _MULTIPLE else [f"`image` must be at least 32 x 32 pixels, not {image.size}"]
    problems = checks.check_latents(image, (None, channels, None, None))
    problems = [problem.replace("`latents`", "`image`") for problem in problems]
    if image is None:
        problems.append("`image` is required: a PIL image, or a batch of images in [-1, 1]")
    elif not problems and (image.shape[2] % multiple or image.shape[3] % multiple):
        problems.append(
            f"`image` must have a height and width that are multiples of {multiple}, not {tuple(image.shape[2:])}"
        )
    return problems
