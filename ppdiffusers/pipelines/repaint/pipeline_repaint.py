"""Inpainting with an unconditional network: Lugmayr et al., "RePaint" (arXiv 2201.09865), algorithm 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.stages.unconditional import check_call
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.pil_modes import rgb_images, to_grayscale
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.scheduling_repaint import RePaintScheduler


class RePaintPipeline(DiffusionPipeline):
    """Inpaint with an unconditional network.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `RePaintScheduler`.
    """

    unet: UNet2DModel
    scheduler: RePaintScheduler

    def __init__(self, unet: UNet2DModel, scheduler: RePaintScheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(vae_scale_factor=8)
        self.mask_processor = VaeImageProcessor(
            vae_scale_factor=32, resample="nearest", do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    @inference
    def __call__(
        self,
        image: PipelineImageInput,
        mask_image: PipelineImageInput,
        num_inference_steps: int = 250,
        eta: float = 0.0,
        jump_length: int = 10,
        jump_n_sample: int = 10,
        generator: Generator = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Inpaint images where the mask is black.

        Args:
            image: a PIL image or a list of them, resized to multiples of 8 pixels by Lanczos resampling; or a tensor
                [B, C, H, W] in [-1, 1], used as it is.
            mask_image: the same with one channel, white (1) where the image is kept, black (0) where it is inpainted;
                a PIL mask is resized to multiples of 32 pixels.
            num_inference_steps: number of denoising steps.
            eta: how much noise is added in each step, from 0 (DDIM) to 1 (DDPM).
            jump_length: number of steps of each jump back in time ("j" in the paper's figure 9).
            jump_n_sample: number of passes over each stretch of this length ("r" in the paper's figure 9).
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (a tensor [B, C, H, W] in [0, 1]).
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        check_call(
            self,
            checks.check_images(image=image, mask_image=mask_image),
            checks.check_counts(jump_length=jump_length, jump_n_sample=jump_n_sample),
            checks.check_numbers(eta=eta),
            batch_size=len(generator) if isinstance(generator, list) else 1,  # the images are counted below
            num_inference_steps=num_inference_steps,
            generator=generator,
            output_type=output_type,
        )
        dtype = dtype_of(self.unet)
        known = _as_tensor(self.image_processor, self._in_mode(image)).astype(dtype)  # x_0, [B, C, H, W]
        mask = _as_tensor(self.mask_processor, mask_image).astype(dtype)  # m, [B, 1, H, W]
        self._check_sizes(known, mask, generator)
        generator = as_generator(generator)
        sample = randn_tensor(known.shape, generator=generator, dtype=dtype)  # x_T
        # all later noise of the batch comes from one generator, as in diffusers
        generator = generator[0] if isinstance(generator, list) else generator

        self.scheduler.set_timesteps(num_inference_steps, jump_length, jump_n_sample)
        self.scheduler.eta = eta
        finite, last = FiniteCheck(), int(host_timesteps(self.scheduler)[0]) + 1
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            if t < last:  # x_t -> x_{t-1}: eq. 8
                noise = self.unet(sample, t, return_dict=False)[0]
                sample = self.scheduler.step(noise, t, sample, known, mask, generator).prev_sample
            else:  # x_{t-1} -> x_t: eq. 1, a jump back in time
                sample = self.scheduler.undo_step(sample, last, generator)
            last = t
            finite.note(f"timestep {t}", sample)
        finite.warn()

        images = self.image_processor.postprocess(sample, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _in_mode(self, image: PipelineImageInput) -> PipelineImageInput:
        """Convert PIL images to grayscale or RGB, as the network was trained; other images are unchanged."""
        if self.unet.config.in_channels == 3:
            return rgb_images(image)
        images = image if isinstance(image, list) else [image]
        if self.unet.config.in_channels != 1 or not all(isinstance(one, PIL.Image.Image) for one in images):
            return image
        return [to_grayscale(one) for one in images]

    def _check_sizes(self, known: paddle.Tensor, mask: paddle.Tensor, generator: Generator) -> None:
        """Check that the mask fits the image, and the image the network."""
        batch, channels, height, width = known.shape
        problems = checks.check_generator(generator, batch)
        if channels != self.unet.config.in_channels:
            problems.append(f"`image` has {channels} channels, the network takes {self.unet.config.in_channels}")
        if mask.shape[0] not in (1, batch) or mask.shape[1] not in (1, channels) or mask.shape[2:] != [height, width]:
            problems.append(
                f"`mask_image` has shape {mask.shape} for images of {known.shape}: use multiples of 32 pixels"
            )
        checks.raise_problems(self, problems)


def _as_tensor(processor: VaeImageProcessor, images: PipelineImageInput) -> paddle.Tensor:
    """Images as a tensor [B, C, H, W]; tensors and arrays are used as they are."""
    first = images[0] if isinstance(images, list) else images
    if not isinstance(first, paddle.Tensor | np.ndarray):
        return processor.preprocess(images)
    parts = images if isinstance(images, list) else [images]
    parts = [paddle.to_tensor(part) if isinstance(part, np.ndarray) else part for part in parts]
    return paddle.concat(parts, axis=0)
