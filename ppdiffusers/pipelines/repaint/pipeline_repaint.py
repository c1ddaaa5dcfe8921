"""Inpainting with an unconditional network: Lugmayr et al., "RePaint" (arXiv 2201.09865), algorithm 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.prompts import dtype_of
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference
from ppdiffusers.pipelines.stages.unconditional import check_call
from ppdiffusers.utils.torch_utils import as_generator, randn_tensor


class RePaintPipeline(DiffusionPipeline):
    """Paints the masked part of a picture anew, with a network that was never trained to.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `RePaintScheduler`.
    """

    def __init__(self, unet: Any, scheduler: Any):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(vae_scale_factor=8)
        self.mask_processor = VaeImageProcessor(
            vae_scale_factor=32, resample="nearest", do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    @inference
    def __call__(
        self,
        image: Any,
        mask_image: Any,
        num_inference_steps: int = 250,
        eta: float = 0.0,
        jump_length: int = 10,
        jump_n_sample: int = 10,
        generator: Any = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint what the mask leaves out.

        Args:
            image: PIL picture or a list of them (cut to multiples of 8 pixels by Lanczos), or a tensor [B, C, H, W]
                with values in [-1, 1], used as it is.
            mask_image: the same of one channel, white (1) where the picture is kept, black (0) where it is painted;
                a PIL mask is cut to multiples of 32 pixels.
            num_inference_steps: fewer are quicker and coarser.
            eta: share of fresh noise in every step, from 0 (DDIM) to 1 (DDPM).
            jump_length: steps that each jump goes back in time ("j" in the paper's figure 9).
            jump_n_sample: how often every stretch of this length is walked ("r" in the paper's figure 9).
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (the same as a tensor [B, C, H, W]).
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        self._check(image, mask_image, num_inference_steps, eta, jump_length, jump_n_sample, generator, output_type)
        dtype = dtype_of(self.unet)
        known = _as_tensor(self.image_processor, image).astype(dtype)  # x_0, [B, C, H, W]
        mask = _as_tensor(self.mask_processor, mask_image).astype(dtype)  # m, [B, 1, H, W]
        self._check_sizes(known, mask, generator)
        generator = as_generator(generator)
        sample = randn_tensor(known.shape, generator=generator, dtype=dtype)  # x_T
        # from here on one stream serves the whole batch, as in diffusers
        generator = generator[0] if isinstance(generator, list) else generator

        self.scheduler.set_timesteps(num_inference_steps, jump_length, jump_n_sample)
        self.scheduler.eta = eta
        watch, last = FiniteWatch(), self.scheduler.timesteps[0] + 1
        for t in self.progress_bar(self.scheduler.timesteps):
            if t < last:  # x_t -> x_{t-1}: eq. 8
                noise = self.unet(sample, t, return_dict=False)[0]
                sample = self.scheduler.step(noise, t, sample, known, mask, generator).prev_sample
            else:  # x_{t-1} -> x_t: eq. 1, a jump back in time
                sample = self.scheduler.undo_step(sample, last, generator)
            last = t
            watch.note(f"timestep {t}", sample)
        watch.warn()

        images = self.image_processor.postprocess(sample, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _check(
        self,
        image: Any,
        mask_image: Any,
        num_inference_steps: Any,
        eta: Any,
        jump_length: Any,
        jump_n_sample: Any,
        generator: Any,
        output_type: Any,
    ) -> None:
        pictures = checks.check_pictures(image=image, mask_image=mask_image)
        jumps = checks.check_counts(jump_length=jump_length, jump_n_sample=jump_n_sample)
        batch = len(generator) if isinstance(generator, list) else 1
        check_call(
            self, batch, num_inference_steps, generator, output_type, pictures, jumps, checks.check_numbers(eta=eta)
        )

    def _check_sizes(self, known: paddle.Tensor, mask: paddle.Tensor, generator: Any) -> None:
        """The mask fits the picture, and the picture the network."""
        batch, channels, height, width = known.shape
        problems = checks.check_generator(generator, batch)
        if channels != self.unet.config.in_channels:
            problems.append(f"`image` has {channels} channels, the network takes {self.unet.config.in_channels}")
        if mask.shape[0] not in (1, batch) or mask.shape[1] not in (1, channels) or mask.shape[2:] != [height, width]:
            problems.append(f"`mask_image` is {mask.shape} for pictures {known.shape}: use multiples of 32 pixels")
        checks.refuse(self, problems)


def _as_tensor(processor: VaeImageProcessor, pictures: Any) -> paddle.Tensor:
    """[B, C, H, W]; tensors and arrays of that form are used as they are."""
    first = pictures[0] if isinstance(pictures, list) else pictures
    if not isinstance(first, paddle.Tensor | np.ndarray):
        return processor.preprocess(pictures)
    parts = pictures if isinstance(pictures, list) else [pictures]
    parts = [paddle.to_tensor(part) if isinstance(part, np.ndarray) else part for part in parts]
    return paddle.concat(parts, axis=0)
