"""Unconditional images by latent diffusion: Rombach et al., "Latent Diffusion" (arXiv 2112.10752), section 4.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.latents import decode_latents
from ppdiffusers.pipelines.stages.legacy import correct_unconditional_vqvae
from ppdiffusers.pipelines.stages.timesteps import host_timesteps, step_kwargs
from ppdiffusers.pipelines.stages.unconditional import check_call, initial_noise
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.vq_model import VQModel
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.common.types import Scheduler


class LDMPipeline(DiffusionPipeline):
    """Generate latents with a UNet and decode them with an autoencoder.

    Args:
        vqvae: a `VQModel` (or `AutoencoderKL`); latents are divided by its `scaling_factor`, except those of
            files that predate this key: their latents are unscaled.
        unet: a `UNet2DModel` that predicts the noise of its latents.
        scheduler: `DDIMScheduler`, or another one with the same arguments of `step`.
    """

    vqvae: VQModel
    unet: UNet2DModel
    scheduler: Scheduler

    def __init__(self, vqvae: VQModel, unet: UNet2DModel, scheduler: Scheduler):
        super().__init__()
        correct_unconditional_vqvae(vqvae)
        self.register_modules(vqvae=vqvae, unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generator = None,
        eta: float = 0.0,
        num_inference_steps: int = 50,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            batch_size: number of images.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            eta: how much noise is added in each step, from 0 (DDIM) to 1 (DDPM); other schedulers ignore it.
            num_inference_steps: number of denoising steps.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]), "pd" (a tensor [B, C, H, W] in [0, 1]) or "latent".
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
        latents = initial_noise(self.unet, batch_size, generator, self.scheduler.init_noise_sigma)  # [B, C, h, w]

        self.scheduler.set_timesteps(num_inference_steps)
        options = step_kwargs(self.scheduler, generator, eta)
        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            noise = self.unet(self.scheduler.scale_model_input(latents, t), t, return_dict=False)[0]
            latents = self.scheduler.step(noise, t, latents, **options).prev_sample
            finite.note(f"denoising at timestep {t}", latents)

        image = latents if output_type == "latent" else decode_latents(self.vqvae, latents, finite)
        finite.warn()
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
