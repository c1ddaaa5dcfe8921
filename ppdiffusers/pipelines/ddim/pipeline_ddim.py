"""Unconditional pictures, few steps: Song et al., "Denoising Diffusion Implicit Models" (arXiv 2010.02502), eq. 12."""

from __future__ import annotations

from typing import Any

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference, step_kwargs
from ppdiffusers.pipelines.stages.unconditional import check_call, first_noise
from ppdiffusers.schedulers.scheduling_ddim import DDIMScheduler
from ppdiffusers.utils.torch_utils import as_generator


class DDIMPipeline(DiffusionPipeline):
    """Noise to pictures with the network of a DDPM, in a tenth of its steps.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `DDIMScheduler`; any other is turned into one with the same noise schedule.
    """

    def __init__(self, unet: Any, scheduler: Any):
        super().__init__()
        scheduler = DDIMScheduler.from_config(scheduler.config)
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        generator: Any = None,
        eta: float = 0.0,
        num_inference_steps: int = 50,
        use_clipped_model_output: bool | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint.

        Args:
            batch_size: number of pictures.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            eta: share of fresh noise in every step, from 0 (DDIM) to 1 (DDPM).
            num_inference_steps: fewer are quicker and coarser.
            use_clipped_model_output: whether a step goes on from the clipped picture instead of the predicted noise.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (the same as a tensor [B, C, H, W]).
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        check_call(self, batch_size, num_inference_steps, generator, output_type, checks.check_numbers(eta=eta))
        generator = as_generator(generator)
        image = first_noise(self.unet, batch_size, generator)  # x_T, [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        options = step_kwargs(self.scheduler, generator, eta)
        if use_clipped_model_output is not None:
            options["use_clipped_model_output"] = use_clipped_model_output
        watch = FiniteWatch()
        for t in self.progress_bar(self.scheduler.timesteps):
            noise = self.unet(image, t, return_dict=False)[0]  # eps_theta(x_t)
            image = self.scheduler.step(noise, t, image, **options).prev_sample  # the next x on the shorter path
            watch.note(f"denoising at timestep {t}", image)
        watch.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
