"""Unconditional images: Liu et al., "Pseudo Numerical Methods for Diffusion Models" (arXiv 2202.09778), alg. 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.stages.unconditional import check_call, initial_noise
from ppdiffusers.schedulers.scheduling_pndm import PNDMScheduler
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.common.types import Scheduler


class PNDMPipeline(DiffusionPipeline):
    """Generate images with the network of a DDPM by a multistep method.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `PNDMScheduler`; any other is converted to one with the same noise schedule.
    """

    unet: UNet2DModel
    scheduler: Scheduler

    def __init__(self, unet: UNet2DModel, scheduler: Scheduler):
        super().__init__()
        scheduler = PNDMScheduler.from_config(scheduler.config)
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
            num_inference_steps: number of denoising steps; the first three call the network four times each.
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
        image = initial_noise(self.unet, batch_size, as_generator(generator))  # x_T, [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            noise = self.unet(image, t, return_dict=False)[0]  # eps_theta(x_t)
            image = self.scheduler.step(noise, t, image).prev_sample  # phi(x_t, e'_t, t, t - delta)
            finite.note(f"denoising at timestep {t}", image)
        finite.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
