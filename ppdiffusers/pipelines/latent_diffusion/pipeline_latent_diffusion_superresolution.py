"""Four times the resolution: Latent Diffusion conditioned on a small picture (arXiv 2112.10752, section 4.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.images import decode
from ppdiffusers.pipelines.stages.latents import first_latents
from ppdiffusers.pipelines.stages.prompts import dtype_of
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference, step_kwargs
from ppdiffusers.utils.torch_utils import as_generator

_MULTIPLE = 32  # sides of PIL pictures are rounded down to it


class LDMSuperResolutionPipeline(DiffusionPipeline):
    """Small pictures to large ones: the latents are as high and wide as the small picture, and lie beside it.

    Args:
        vqvae: a `VQModel` that makes pictures of latents.
        unet: a `UNet2DModel` that reads latents and the small picture together (3 + 3 channels).
        scheduler: `DDIMScheduler` or another whose step takes the same arguments.
    """

    def __init__(self, vqvae: Any, unet: Any, scheduler: Any):
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
        generator: Any = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint the pictures large.

        Args:
            image: a PIL picture, whose sides are rounded down to multiples of 32, or a batch [B, 3, H, W] in [-1, 1],
                whose sides the UNet can halve at every level.
            batch_size: has no effect: there are as many results as pictures.
            num_inference_steps: fewer are quicker and coarser.
            eta: share of fresh noise in each DDIM step, 0 to 1.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        config = self.unet.config
        channels = config.in_channels // 2
        checks.refuse(
            self,
            _check_image(image, config.in_channels - channels, 2 ** (len(config.block_out_channels) - 1)),
            checks.check_sampling(self.scheduler, num_inference_steps, 1, output_type, eta=eta),
            checks.check_generator(generator, 1 if isinstance(image, PIL.Image.Image) else len(np.atleast_1d(image))),
        )
        generator = as_generator(generator)
        dtype = dtype_of(self.unet)
        image = self._prepare(image).astype(dtype)  # [B, 3, h, w]
        shape = (image.shape[0], channels, *image.shape[2:])
        self.scheduler.set_timesteps(num_inference_steps)
        latents = first_latents(shape, self.scheduler.init_noise_sigma, dtype, generator)
        extra_step_kwargs = step_kwargs(self.scheduler, generator, eta)

        watch = FiniteWatch()
        for t in self.progress_bar(self.scheduler.timesteps):
            model_input = self.scheduler.scale_model_input(paddle.concat([latents, image], axis=1), t)
            noise_pred = self.unet(model_input, t).sample  # [B, 3, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs).prev_sample
            watch.note(f"denoising at timestep {t}", latents)

        if output_type != "latent":  # these latents are not scaled
            latents = decode(self.vqvae, latents, watch)  # [B, 3, 4h, 4w]
        watch.warn()
        images = self.image_processor.postprocess(latents, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _prepare(self, image: PIL.Image.Image | paddle.Tensor | np.ndarray) -> paddle.Tensor:
        if isinstance(image, PIL.Image.Image):
            return self.image_processor.preprocess(image.convert("RGB"))
        return paddle.to_tensor(image) if isinstance(image, np.ndarray) else image


def _check_image(image: Any, channels: int, multiple: int) -> list[str]:
    """A PIL picture of at least 32 x 32, or a batch without NaN whose sides are multiples of `multiple`."""
    if isinstance(image, PIL.Image.Image):
        return [] if min(image.size) >= _MULTIPLE else [f"`image` must be at least 32 x 32 pixels, not {image.size}"]
    problems = checks.check_latents(image, (None, channels, None, None))
    problems = [problem.replace("`latents`", "`image`") for problem in problems]
    if image is None:
        problems.append("`image` is needed: a PIL picture, or a batch of pictures in [-1, 1]")
    elif not problems and (image.shape[2] % multiple or image.shape[3] % multiple):
        problems.append(f"`image` must have sides that are multiples of {multiple}, not {tuple(image.shape[2:])}")
    return problems
