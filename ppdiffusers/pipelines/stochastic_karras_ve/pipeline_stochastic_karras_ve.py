"""Heun's method with churned noise: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
Models" (arXiv 2206.00364), algorithm 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.stages.unconditional import check_call, initial_noise
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.scheduling_karras_ve import KarrasVeScheduler


class KarrasVePipeline(DiffusionPipeline):
    """Generate images with the network of a variance-exploding model.

    Args:
        unet: a `UNet2DModel` that predicts the noise from the noise level.
        scheduler: `KarrasVeScheduler`.
    """

    unet: UNet2DModel
    scheduler: KarrasVeScheduler

    def __init__(self, unet: UNet2DModel, scheduler: KarrasVeScheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 50,
        generator: Generator = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            batch_size: number of images.
            num_inference_steps: number of noise levels; all but the last one call the network twice.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (a tensor [B, C, H, W] in [0, 1]).
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        check_call(
            self,
            batch_size=batch_size,
            num_inference_steps=num_inference_steps,
            generator=generator,
            output_type=output_type,
        )
        generator, scheduler = as_generator(generator), self.scheduler
        image = initial_noise(self.unet, batch_size, generator, scheduler.init_noise_sigma)  # [B, C, H, W]

        scheduler.set_timesteps(num_inference_steps)
        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(scheduler)):
            sigma = float(scheduler.host_schedule[t])  # t_i of the paper
            sigma_prev = float(scheduler.host_schedule[t - 1]) if t > 0 else 0.0  # t_{i+1}
            noisier, sigma_hat = scheduler.add_noise_to_input(image, sigma, generator=generator)
            step = scheduler.step(self._predict(noisier, sigma_hat), sigma_hat, sigma_prev, noisier)
            if sigma_prev > 0:  # the mean of the derivatives at both ends
                prediction = self._predict(step.prev_sample, sigma_prev)
                step = scheduler.step_correct(
                    prediction, sigma_hat, sigma_prev, noisier, step.prev_sample, step.derivative
                )
            image = step.prev_sample
            finite.note(f"denoising at noise level {sigma:.4g}", image)
        finite.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _predict(self, image: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """Predict the noise in images; the network reads them in [0, 1] at half the noise level (eq. 213)."""
        return (sigma / 2) * self.unet((image + 1) / 2, sigma / 2, return_dict=False)[0]
