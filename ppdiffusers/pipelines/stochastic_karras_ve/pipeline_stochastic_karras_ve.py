"""Heun's method with churned noise: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
Models" (arXiv 2206.00364), algorithm 2."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference
from ppdiffusers.pipelines.stages.unconditional import check_call, first_noise
from ppdiffusers.utils.torch_utils import as_generator


class KarrasVePipeline(DiffusionPipeline):
    """Noise to pictures with the network of a variance-exploding model.

    Args:
        unet: a `UNet2DModel` that predicts the noise from the noise level.
        scheduler: `KarrasVeScheduler`.
    """

    def __init__(self, unet: Any, scheduler: Any):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 50,
        generator: Any = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint.

        Args:
            batch_size: number of pictures.
            num_inference_steps: noise levels; all but the last call the network twice.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (the same as a tensor [B, C, H, W]).
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        check_call(self, batch_size, num_inference_steps, generator, output_type)
        generator, scheduler = as_generator(generator), self.scheduler
        image = first_noise(self.unet, batch_size, generator, scheduler.init_noise_sigma)  # [B, C, H, W]

        scheduler.set_timesteps(num_inference_steps)
        watch = FiniteWatch()
        for t in self.progress_bar(scheduler.timesteps):
            sigma = float(scheduler.schedule[t])  # t_i of the paper
            sigma_prev = float(scheduler.schedule[t - 1]) if t > 0 else 0.0  # t_{i+1}
            noisier, sigma_hat = scheduler.add_noise_to_input(image, sigma, generator=generator)
            step = scheduler.step(self._predict(noisier, sigma_hat), sigma_hat, sigma_prev, noisier)
            if sigma_prev > 0:  # the mean of the slopes at both ends
                prediction = self._predict(step.prev_sample, sigma_prev)
                step = scheduler.step_correct(
                    prediction, sigma_hat, sigma_prev, noisier, step.prev_sample, step.derivative
                )
            image = step.prev_sample
            watch.note(f"denoising at noise level {sigma:.4g}", image)
        watch.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _predict(self, image: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """What the network says of pictures in [-1, 1], which it knows in [0, 1] and at half the level (eq. 213)."""
        return (sigma / 2) * self.unet((image + 1) / 2, sigma / 2, return_dict=False)[0]
