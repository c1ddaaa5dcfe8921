"""Euler-Maruyama on the reverse-time VP SDE: Song et al., "Score-Based Generative Modeling through SDEs" (arXiv
2011.13456), eq. 6 and appendix C."""

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
    from ppdiffusers.schedulers.scheduling_sde_vp import ScoreSdeVpScheduler


class ScoreSdeVpPipeline(DiffusionPipeline):
    """Generate images by the variance-preserving SDE.

    Args:
        unet: a `UNet2DModel` that predicts the noise of a DDPM; its timestep is the time times the last step's index.
        scheduler: `ScoreSdeVpScheduler`.
    """

    unet: UNet2DModel
    scheduler: ScoreSdeVpScheduler

    def __init__(self, unet: UNet2DModel, scheduler: ScoreSdeVpScheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 1000,
        generator: Generator = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            batch_size: number of images.
            num_inference_steps: number of training timesteps, because those of the network are 0 to this number - 1.
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
        generator = as_generator(generator)
        sample = initial_noise(self.unet, batch_size, generator, self.scheduler.init_noise_sigma)  # [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        finite, mean = FiniteCheck(), sample
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            times = paddle.full([batch_size], float(t), dtype="float32")  # [B], from 1 down to nearly 0
            noise = self.unet(sample, times * (num_inference_steps - 1), return_dict=False)[0]
            sample, mean = self.scheduler.step_pred(noise, sample, times, generator=generator)
            finite.note(f"denoising at time {float(t):.4f}", sample)
        finite.warn()

        # the noise of the last step is not added
        images = self.image_processor.postprocess(mean, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
