"""Euler-Maruyama on the reverse-time VP SDE: Song et al., "Score-Based Generative Modeling through SDEs" (arXiv
2011.13456), eq. 6 and appendix C."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference
from ppdiffusers.pipelines.stages.unconditional import check_call, first_noise
from ppdiffusers.utils.torch_utils import as_generator


class ScoreSdeVpPipeline(DiffusionPipeline):
    """Noise to pictures along the variance-preserving SDE.

    Args:
        unet: a `UNet2DModel` that predicts the noise of a DDPM; its timestep is the time times the last step's index.
        scheduler: `ScoreSdeVpScheduler`.
    """

    def __init__(self, unet: Any, scheduler: Any):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 1000,
        generator: Any = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint.

        Args:
            batch_size: number of pictures.
            num_inference_steps: as many as the network was trained with, because its timesteps are 0 to this less 1.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (the same as a tensor [B, C, H, W]).
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        check_call(self, batch_size, num_inference_steps, generator, output_type)
        generator = as_generator(generator)
        sample = first_noise(self.unet, batch_size, generator, self.scheduler.init_noise_sigma)  # [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        watch, mean = FiniteWatch(), sample
        for t in self.progress_bar(self.scheduler.timesteps):
            times = paddle.full([batch_size], float(t), dtype="float32")  # [B], from 1 down to nearly 0
            noise = self.unet(sample, times * (num_inference_steps - 1), return_dict=False)[0]
            sample, mean = self.scheduler.step_pred(noise, sample, times, generator=generator)
            watch.note(f"denoising at time {float(t):.4f}", sample)
        watch.warn()

        # the last step's noise is left out
        images = self.image_processor.postprocess(mean, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
