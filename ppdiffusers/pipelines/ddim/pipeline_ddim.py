"""Unconditional images in few steps: Song et al., "Denoising Diffusion Implicit Models" (arXiv 2010.02502), eq. 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps, step_kwargs
from ppdiffusers.pipelines.stages.unconditional import check_call, initial_noise
from ppdiffusers.schedulers.scheduling_ddim import DDIMScheduler
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.common.types import Scheduler


class DDIMPipeline(DiffusionPipeline):
    """Generate images with the network of a DDPM, in a tenth of its steps.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `DDIMScheduler`; any other is converted to one with the same noise schedule.
    """

    unet: UNet2DModel
    scheduler: Scheduler

    def __init__(self, unet: UNet2DModel, scheduler: Scheduler):
        super().__init__()
        scheduler = DDIMScheduler.from_config(scheduler.config)
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generator = None,
        eta: float = 0.0,
        num_inference_steps: int = 50,
        use_clipped_model_output: bool | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            batch_size: number of images.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            eta: how much noise is added in each step, from 0 (DDIM) to 1 (DDPM).
            num_inference_steps: number of denoising steps.
            use_clipped_model_output: whether a step uses the noise that corresponds to the clipped prediction of x_0.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (a tensor [B, C, H, W] in [0, 1]).
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        check_call(
            self,
            checks.check_numbers(eta=eta),
            batch_size=batch_size,
            num_inference_steps=num_inference_steps,
            generator=generator,
            output_type=output_type,
        )
        generator = as_generator(generator)
        image = initial_noise(self.unet, batch_size, generator)  # x_T, [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        options = step_kwargs(self.scheduler, generator, eta)
        if use_clipped_model_output is not None:
            options["use_clipped_model_output"] = use_clipped_model_output
        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            noise = self.unet(image, t, return_dict=False)[0]  # eps_theta(x_t)
            image = self.scheduler.step(
                noise, t, image, **options
            ).prev_sample  # x of the next timestep in the subsequence
            finite.note(f"denoising at timestep {t}", image)
        finite.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
