"""Unconditional pictures by way of latents: Rombach et al., "Latent Diffusion" (arXiv 2112.10752), section 4.1."""

from __future__ import annotations

from typing import Any

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.images import decode_latents
from ppdiffusers.pipelines.stages.published import mend_unconditional_vqvae
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference, step_kwargs
from ppdiffusers.pipelines.stages.unconditional import check_call, first_noise
from ppdiffusers.utils.torch_utils import as_generator


class LDMPipeline(DiffusionPipeline):
    """Noise to latents with a UNet, latents to pictures with an autoencoder.

    Args:
        vqvae: a `VQModel` (or `AutoencoderKL`); latents are divided by its `scaling_factor`, but for files older than
            this key, whose latents were never scaled.
        unet: a `UNet2DModel` that predicts the noise of its latents.
        scheduler: `DDIMScheduler` or another whose step takes the same arguments.
    """

    def __init__(self, vqvae: Any, unet: Any, scheduler: Any):
        super().__init__()
        mend_unconditional_vqvae(vqvae)
        self.register_modules(vqvae=vqvae, unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        generator: Any = None,
        eta: float = 0.0,
        num_inference_steps: int = 50,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint.

        Args:
            batch_size: number of pictures.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            eta: share of fresh noise in every step, from 0 (DDIM) to 1 (DDPM); other schedulers ignore it.
            num_inference_steps: fewer are quicker and coarser.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]), "pd" (the same as a tensor [B, C, H, W]) or "latent".
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        check_call(self, batch_size, num_inference_steps, generator, output_type, checks.check_numbers(eta=eta))
        generator = as_generator(generator)
        latents = first_noise(self.unet, batch_size, generator, self.scheduler.init_noise_sigma)  # [B, C, h, w]

        self.scheduler.set_timesteps(num_inference_steps)
        options = step_kwargs(self.scheduler, generator, eta)
        watch = FiniteWatch()
        for t in self.progress_bar(self.scheduler.timesteps):
            noise = self.unet(self.scheduler.scale_model_input(latents, t), t, return_dict=False)[0]
            latents = self.scheduler.step(noise, t, latents, **options).prev_sample
            watch.note(f"denoising at timestep {t}", latents)

        image = latents if output_type == "latent" else decode_latents(self.vqvae, latents, watch)
        watch.warn()
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
