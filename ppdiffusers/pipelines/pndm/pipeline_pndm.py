"""Unconditional pictures: Liu et al., "Pseudo Numerical Methods for Diffusion Models" (arXiv 2202.09778), alg. 2."""

from __future__ import annotations

from typing import Any

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference
from ppdiffusers.pipelines.stages.unconditional import check_call, first_noise
from ppdiffusers.schedulers.scheduling_pndm import PNDMScheduler
from ppdiffusers.utils.torch_utils import as_generator


class PNDMPipeline(DiffusionPipeline):
    """Noise to pictures with the network of a DDPM, by a multistep method.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `PNDMScheduler`; any other is turned into one with the same noise schedule.
    """

    def __init__(self, unet: Any, scheduler: Any):
        super().__init__()
        scheduler = PNDMScheduler.from_config(scheduler.config)
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
            num_inference_steps: fewer are quicker and coarser; the first three call the network four times each.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (the same as a tensor [B, C, H, W]).
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        check_call(self, batch_size, num_inference_steps, generator, output_type)
        image = first_noise(self.unet, batch_size, as_generator(generator))  # x_T, [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        watch = FiniteWatch()
        for t in self.progress_bar(self.scheduler.timesteps):
            noise = self.unet(image, t, return_dict=False)[0]  # eps_theta(x_t)
            image = self.scheduler.step(noise, t, image).prev_sample  # phi(x_t, e'_t, t, t - delta)
            watch.note(f"denoising at timestep {t}", image)
        watch.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
