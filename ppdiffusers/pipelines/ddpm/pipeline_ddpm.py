"""Unconditional images: Ho et al., "Denoising Diffusion Probabilistic Models" (arXiv 2006.11239), algorithm 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.stages.unconditional import check_call, initial_noise
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.common.types import Scheduler


class DDPMPipeline(DiffusionPipeline):
    """Generate images from noise with one network.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `DDPMScheduler`, `DDIMScheduler`, or another one with the same arguments of `step`.
    """

    unet: UNet2DModel
    scheduler: Scheduler

    def __init__(self, unet: UNet2DModel, scheduler: Scheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generator = None,
        num_inference_steps: int = 1000,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            batch_size: number of images.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            num_inference_steps: number of denoising steps.
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
        image = initial_noise(self.unet, batch_size, generator)  # x_T, [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            model_output = self.unet(image, t, return_dict=False)[0]  # eps_theta(x_t, t)
            image = self.scheduler.step(model_output, t, image, generator=generator).prev_sample  # x_{t-1}
            finite.note(f"denoising at timestep {t}", image)
        finite.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
