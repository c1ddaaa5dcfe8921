"""Text to image. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.latent_diffusion.ldmbert import LDMBertConfig as LDMBertConfig
from ppdiffusers.pipelines.latent_diffusion.ldmbert import LDMBertModel as LDMBertModel
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import UNetDenoiser, inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.guidance import classifier_free_guidance
from ppdiffusers.pipelines.stages.latents import decode_latents, initial_latents
from ppdiffusers.pipelines.stages.prompt_encoders import PromptEncoder
from ppdiffusers.pipelines.stages.timesteps import host_timesteps, step_kwargs
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.autoencoders.vq_model import VQModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import BertTokenizer

# Constants of the original, whatever the autoencoder is: tokens of a prompt, pixels of a latent.
MAX_TOKENS, SCALE_FACTOR = 77, 8


class LDMTextToImagePipeline(DiffusionPipeline):
    """Generate images from prompts.

    Args:
        vqvae: decodes latents to images.
        bert: the text encoder.
        tokenizer: of the text encoder.
        unet: predicts the noise in the latents.
        scheduler: `DDIMScheduler` or another one. The initial noise and the network's input are scaled as Euler and LMS
            require, which diffusers omits.
    """

    vqvae: VQModel | AutoencoderKL
    bert: LDMBertModel
    tokenizer: BertTokenizer
    unet: UNet2DConditionModel
    scheduler: Scheduler

    def __init__(
        self,
        vqvae: VQModel | AutoencoderKL,
        bert: LDMBertModel,
        tokenizer: BertTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
    ):
        super().__init__()
        self.register_modules(vqvae=vqvae, bert=bert, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.vae_scale_factor = 2 ** (len(vqvae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images from prompts.

        Args:
            prompt: one image is generated for each string.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`.
            num_inference_steps: number of denoising steps.
            guidance_scale: classifier-free guidance; at 1 there is no guidance and each step takes half the time.
            eta: of DDIM, 0 to 1: how much noise is added in each step.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            latents: standard normal noise [B, C, height / 8, width / 8], used instead of drawing it.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        config = self.unet.config
        height = config.sample_size * self.vae_scale_factor if height is None else height
        width = config.sample_size * self.vae_scale_factor if width is None else width
        checks.raise_problems(
            self,
            checks.check_prompts(prompt=prompt),
            checks.check_size(height=height, width=width, multiple=SCALE_FACTOR),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=1,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=checks.num_prompts(prompt),
                num_images_per_prompt=1,
                channels=config.in_channels,
                height=height,
                width=width,
                scale_factor=SCALE_FACTOR,
            ),
        )
        prompt = [prompt] if isinstance(prompt, str) else prompt
        generator = as_generator(generator)
        guided = guidance_scale != 1.0

        # 1. encode the prompts, with guidance after as many empty ones
        encoder = PromptEncoder(self.tokenizer, self.bert)
        prompt_embeds = encoder.encode([""] * len(prompt) + prompt if guided else prompt, MAX_TOKENS, warn=True)

        # 2. timesteps and initial noise
        self.scheduler.set_timesteps(num_inference_steps)
        shape = (len(prompt), config.in_channels, height // SCALE_FACTOR, width // SCALE_FACTOR)
        latents = initial_latents(shape, self.scheduler.init_noise_sigma, prompt_embeds.dtype, generator, latents)
        extra_step_kwargs = step_kwargs(self.scheduler, generator, eta)

        # 3. denoise
        denoiser, finite = UNetDenoiser(self.unet, self.scheduler), FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            noise_pred = denoiser(latents, t, prompt_embeds)  # [2B or B, C, h, w]
            if guided:
                noise_pred = classifier_free_guidance(noise_pred, guidance_scale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs).prev_sample
            finite.note(f"denoising at timestep {t}", latents)

        # 4. decode
        image = latents if output_type == "latent" else decode_latents(self.vqvae, latents, finite)
        finite.warn()
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
