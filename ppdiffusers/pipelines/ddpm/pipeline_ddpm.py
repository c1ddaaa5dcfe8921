"""Unconditional pictures: Ho et al., "Denoising Diffusion Probabilistic Models" (arXiv 2006.11239), algorithm 2."""

from __future__ import annotations

from typing import Any

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference
from ppdiffusers.pipelines.stages.unconditional import check_call, first_noise
from ppdiffusers.utils.torch_utils import as_generator


class DDPMPipeline(DiffusionPipeline):
    """Noise to pictures with one network.

    Args:
        unet: a `UNet2DModel` that predicts the noise.
        scheduler: `DDPMScheduler`, `DDIMScheduler` or another whose step takes the same arguments.
    """

    def __init__(self, unet: Any, scheduler: Any):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        generator: Any = None,
        num_inference_steps: int = 1000,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint.

        Args:
            batch_size: number of pictures.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            num_inference_steps: fewer are quicker and coarser.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (the same as a tensor [B, C, H, W]).
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        check_call(self, batch_size, num_inference_steps, generator, output_type)
        generator = as_generator(generator)
        image = first_noise(self.unet, batch_size, generator)  # x_T, [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        watch = FiniteWatch()
        for t in self.progress_bar(self.scheduler.timesteps):
            model_output = self.unet(image, t, return_dict=False)[0]  # eps_theta(x_t, t)
            image = self.scheduler.step(model_output, t, image, generator=generator).prev_sample  # x_{t-1}
            watch.note(f"denoising at timestep {t}", image)
        watch.warn()

        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
