"""Text to picture. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.latent_diffusion.ldmbert import LDMBertModel
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.guidance import guide
from ppdiffusers.pipelines.stages.images import decode_latents
from ppdiffusers.pipelines.stages.latents import first_latents
from ppdiffusers.pipelines.stages.prompts import encode_texts
from ppdiffusers.pipelines.stages.run import FiniteWatch, inference, step_kwargs
from ppdiffusers.utils.torch_utils import as_generator

# What published networks were trained for, whatever their autoencoder is: tokens of a text, pixels to a latent.
TOKENS, PIXELS = 77, 8


class LDMTextToImagePipeline(DiffusionPipeline):
    """Pictures from texts.

    Args:
        vqvae: a `VQModel` or an `AutoencoderKL`, between pictures and latents.
        bert: an `LDMBertModel`.
        tokenizer: a `BertTokenizer`.
        unet: a `UNet2DConditionModel` that predicts the noise in the latents.
        scheduler: `DDIMScheduler` or another one (the original neither scales the first noise nor the network's input,
            which Euler and LMS need; this pipeline does).
    """

    def __init__(self, vqvae: Any, bert: LDMBertModel, tokenizer: Any, unet: Any, scheduler: Any):
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
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Paint pictures of the prompts.

        Args:
            prompt: what to paint; one picture for each text.
            height, width: pixels, multiples of 8; by default what the UNet was trained for.
            num_inference_steps: fewer are quicker and coarser.
            guidance_scale: how strongly the prompt is followed; 1 is without guidance and twice as fast.
            eta: share of fresh noise in each DDIM step, 0 to 1.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            latents: standard normal noise [B, C, height / 8, width / 8] to start from, instead of drawing it.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        config = self.unet.config
        height = config.sample_size * self.vae_scale_factor if height is None else height
        width = config.sample_size * self.vae_scale_factor if width is None else width
        checks.refuse(
            self,
            checks.check_prompts(prompt, None, None, None),
            checks.check_size(height, width, PIXELS),
            checks.check_sampling(
                self.scheduler, num_inference_steps, 1, output_type, guidance_scale=guidance_scale, eta=eta
            ),
            checks.check_noise(
                latents, generator, checks.batch_of(prompt, None), 1, config.in_channels, (height, width), PIXELS
            ),
        )
        prompt = [prompt] if isinstance(prompt, str) else prompt
        generator = as_generator(generator)
        guided = guidance_scale != 1.0

        # 1. the texts; with guidance, nothing said comes first in the batch
        texts = [""] * len(prompt) + prompt if guided else prompt
        prompt_embeds = encode_texts(self.tokenizer, self.bert, texts, TOKENS, tell_truncation=True)  # [2B or B, 77, D]

        # 2. the steps, and the noise to start from
        self.scheduler.set_timesteps(num_inference_steps)
        shape = (len(prompt), config.in_channels, height // PIXELS, width // PIXELS)
        latents = first_latents(shape, self.scheduler.init_noise_sigma, prompt_embeds.dtype, generator, latents)
        extra_step_kwargs = step_kwargs(self.scheduler, generator, eta)

        # 3. denoise
        watch = FiniteWatch()
        for t in self.progress_bar(self.scheduler.timesteps):
            model_input = paddle.concat([latents] * 2) if guided else latents
            model_input = self.scheduler.scale_model_input(model_input, t)
            noise_pred = self.unet(model_input, t, encoder_hidden_states=prompt_embeds).sample  # [2B or B, C, h, w]
            if guided:
                noise_pred = guide(noise_pred, guidance_scale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs).prev_sample
            watch.note(f"denoising at timestep {t}", latents)

        # 4. decode
        image = latents if output_type == "latent" else decode_latents(self.vqvae, latents, watch)
        watch.warn()
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)
