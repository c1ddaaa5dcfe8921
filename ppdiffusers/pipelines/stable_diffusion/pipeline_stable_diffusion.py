"""Text to picture. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stable_diffusion.published import mend_scheduler, mend_unet, tell_no_safety_checker
from ppdiffusers.pipelines.steps import checks
from ppdiffusers.pipelines.steps.guidance import guidance_scale_embedding, rescale_noise_cfg
from ppdiffusers.pipelines.steps.images import decode_latents
from ppdiffusers.pipelines.steps.latents import first_latents
from ppdiffusers.pipelines.steps.prompts import dtype_of, encode_prompt
from ppdiffusers.pipelines.steps.run import Loop, inference, retrieve_timesteps, step_kwargs
from ppdiffusers.pipelines.steps.safety import run_safety_checker
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionPipeline(DiffusionPipeline, StableDiffusionMixin):
    """Pictures from prompts.

    Args:
        vae: an `AutoencoderKL`, between pictures and latents.
        text_encoder: a `CLIPTextModel` (ours or paddlenlp's).
        tokenizer: a `CLIPTokenizer`.
        unet: a `UNet2DConditionModel` that predicts the noise (or x_0, or v) in the latents.
        scheduler: any scheduler for the UNet's noise schedule.
        safety_checker: a `StableDiffusionSafetyChecker` that blacks out objectionable pictures, or None.
        feature_extractor: a `CLIPImageProcessor`, which prepares pictures for the safety checker.
        image_encoder: kept for folders that have one.
        requires_safety_checker: whether to warn when there is none.
    """

    _optional_components = ("safety_checker", "feature_extractor", "image_encoder")
    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds")

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any,
        feature_extractor: Any,
        image_encoder: Any = None,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        mend_scheduler(scheduler)
        mend_unet(unet)
        if safety_checker is None and requires_safety_checker:
            tell_no_safety_checker(self)
        if safety_checker is not None and feature_extractor is None:
            raise InputError(
                "The safety checker needs a feature extractor, and there is none.",
                remedy="pass `feature_extractor=CLIPImageProcessor(...)`, or `safety_checker=None`.",
            )
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
        )
        # each level of the VAE but the last halves the picture's sides
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 8
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)
        self.register_to_config(requires_safety_checker=requires_safety_checker)

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        callback_on_step_end: Callable[[Any, int, Any, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Paint pictures of the prompts.

        Args:
            prompt: what to paint; one picture (or `num_images_per_prompt`) for each text.
            height, width: pixels, multiples of 8; by default what the UNet was trained for.
            num_inference_steps: fewer are quicker and coarser.
            timesteps, sigmas: the steps one by one, falling, for schedulers that take them.
            guidance_scale: how strongly the prompt is followed; 1 or less is without guidance and twice as fast.
            negative_prompt: what to keep away from; without guidance it has no effect.
            num_images_per_prompt: pictures for each prompt.
            eta: share of fresh noise in each DDIM step, 0 to 1.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            latents: standard normal noise [B, C, height / 8, width / 8] to start from, instead of drawing it.
            prompt_embeds, negative_prompt_embeds: [B, L, D], instead of the texts.
            ip_adapter_image, ip_adapter_image_embeds: must be None: this pipeline holds no image prompt adapter.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: False gives `(images, nsfw_content_detected)`.
            cross_attention_kwargs: handed to the UNet's attention.
            guidance_rescale: phi of arXiv 2305.08891, against over-exposure from strong guidance.
            clip_skip: how many of the text encoder's last layers are left out.
            callback_on_step_end: called after each step as `f(pipeline, index, timestep, tensors)`; what it returns
                (a dict) replaces the tensors. It may set `pipeline._interrupt = True` to stop.
            callback_on_step_end_tensor_inputs: names of the tensors it is given.
            callback, callback_steps: the older form: `f(index, timestep, latents)`, every so many steps.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        height, width = self._size(height, width, latents)
        channels = self.unet.config.in_channels
        self.check_inputs(
            prompt,
            height,
            width,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            ip_adapter_image,
            ip_adapter_image_embeds,
            tensor_inputs,
            checks.check_counts(num_images_per_prompt=num_images_per_prompt),
            checks.check_numbers(guidance_scale=guidance_scale, guidance_rescale=guidance_rescale, eta=eta),
            checks.check_schedule(self.scheduler, num_inference_steps, timesteps, sigmas),
            checks.check_output_type(output_type),
            checks.check_callbacks(
                callback_on_step_end, tensor_inputs, self._callback_tensor_inputs, callback, callback_steps
            ),
            checks.check_noise(
                latents,
                generator,
                checks.batch_of(prompt, prompt_embeds),
                num_images_per_prompt,
                channels,
                (height, width),
                self.vae_scale_factor,
            ),
        )
        batch_size = checks.batch_of(prompt, prompt_embeds) * num_images_per_prompt
        generator = as_generator(generator)
        self._guidance_scale, self._guidance_rescale = guidance_scale, guidance_rescale
        self._clip_skip, self._cross_attention_kwargs = clip_skip, cross_attention_kwargs
        self._interrupt = False

        # 1. the prompt; with guidance, what to keep away from comes first in the batch
        prompt_embeds, negative_prompt_embeds = self.encode_prompt(
            prompt,
            self.device,
            num_images_per_prompt,
            self.do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            clip_skip=clip_skip,
        )  # [B, L, D] each
        if self.do_classifier_free_guidance:
            prompt_embeds = paddle.concat([negative_prompt_embeds, prompt_embeds])  # [2B, L, D]

        # 2. the steps, and the noise to start from
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)
        timestep_cond = self._guidance_condition(batch_size, latents.dtype)

        # 3. denoise
        loop = Loop(self, timesteps, num_inference_steps, callback_on_step_end, tensor_inputs, callback, callback_steps)
        for i, t in loop.steps():
            model_input = paddle.concat([latents] * 2) if self.do_classifier_free_guidance else latents
            model_input = self.scheduler.scale_model_input(model_input, t)
            noise_pred = self.unet(
                model_input,
                t,
                encoder_hidden_states=prompt_embeds,
                timestep_cond=timestep_cond,
                cross_attention_kwargs=cross_attention_kwargs,
                return_dict=False,
            )[0]  # [2B or B, C, h, w]
            if self.do_classifier_free_guidance:
                # Ho and Salimans, "Classifier-Free Diffusion Guidance" (arXiv 2207.12598), eq. 6, with s = 1 + w
                noise_pred_uncond, noise_pred_text = noise_pred.chunk(2)
                noise_pred = noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)
                if guidance_rescale > 0:
                    noise_pred = rescale_noise_cfg(noise_pred, noise_pred_text, guidance_rescale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, negative_prompt_embeds = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            )

        # 4. decode, judge
        if output_type == "latent":
            image, has_nsfw_concept = latents, None
        else:
            image = decode_latents(self.vae, latents, loop.watch)  # [B, 3, H, W]
            image, has_nsfw_concept = self.run_safety_checker(image, self.device, prompt_embeds.dtype)
        loop.watch.warn()
        # blacked out pictures are zero already
        do_denormalize = [not flagged for flagged in has_nsfw_concept or [False] * image.shape[0]]
        image = self.image_processor.postprocess(image, output_type, do_denormalize)
        if not return_dict:
            return image, has_nsfw_concept
        return StableDiffusionPipelineOutput(images=image, nsfw_content_detected=has_nsfw_concept)

    # -- the steps one by one: the same names as in diffusers, so that code that calls or overrides them works ------

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        lora_scale: float | None = None,
        clip_skip: int | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """(prompt_embeds, negative_prompt_embeds), each [B * num_images_per_prompt, L, D].

        `device` and `lora_scale` have no effect: the result is where the text encoder is, which holds no LoRA.
        """
        return encode_prompt(
            self.tokenizer,
            self.text_encoder,
            prompt,
            num_images_per_prompt,
            do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            dtype=dtype_of(self.unet),
        )

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
        *more_findings: list[str],
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        adapter = ip_adapter_image is not None or ip_adapter_image_embeds is not None
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            checks.check_size(height, width),
            checks.check_callbacks(
                None, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs, None, callback_steps
            ),
            ["`ip_adapter_image` and `ip_adapter_image_embeds`: no IP-Adapter is loaded"] if adapter else [],
            *more_findings,
        )

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: Any,
        device: Any,
        generator: Any,
        latents: paddle.Tensor | np.ndarray | None = None,
    ) -> paddle.Tensor:
        """The first latents, [batch_size, num_channels_latents, height / 8, width / 8]."""
        shape = (batch_size, num_channels_latents, height // self.vae_scale_factor, width // self.vae_scale_factor)
        return first_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)

    def prepare_extra_step_kwargs(self, generator: Any, eta: float) -> dict[str, Any]:
        """What the scheduler's step takes besides its three tensors."""
        return step_kwargs(self.scheduler, generator, eta)

    def get_guidance_scale_embedding(
        self, w: paddle.Tensor, embedding_dim: int = 512, dtype: Any = "float32"
    ) -> paddle.Tensor:
        """Embedding of guidance scales [B] -> [B, embedding_dim], for distilled UNets."""
        return guidance_scale_embedding(w, embedding_dim, dtype)

    def run_safety_checker(self, image: Any, device: Any, dtype: Any) -> tuple[Any, list[bool] | None]:
        """Pictures, flagged ones black, and their flags (None without a safety checker)."""
        return run_safety_checker(self.safety_checker, self.feature_extractor, self.image_processor, image, dtype)

    def decode_latents(self, latents: paddle.Tensor) -> np.ndarray:
        """Latents [B, C, h, w] -> float32 pictures [B, H, W, 3] in [0, 1]."""
        return self.image_processor.postprocess(decode_latents(self.vae, latents), "np")

    def _size(self, height: int | None, width: int | None, latents: Any) -> tuple[int, int]:
        """Pixels asked for, or those of the given latents, or what the UNet was trained for."""
        if height and width:
            return height, width
        if getattr(latents, "ndim", 0) == 4:
            return latents.shape[2] * self.vae_scale_factor, latents.shape[3] * self.vae_scale_factor
        side = self.unet.config.sample_size
        rows, columns = (side, side) if isinstance(side, int) else side
        return rows * self.vae_scale_factor, columns * self.vae_scale_factor

    def _guidance_condition(self, batch_size: int, dtype: Any) -> paddle.Tensor | None:
        """[B, D] for UNets distilled to take the guidance scale as an input (latent consistency models)."""
        embedding_dim = self.unet.config.time_cond_proj_dim
        if embedding_dim is None:
            return None
        w = paddle.full([batch_size], self.guidance_scale - 1, dtype="float32")
        return self.get_guidance_scale_embedding(w, embedding_dim).astype(dtype)

    # -- the settings of the run in progress, for callbacks ------------------------------------------------------------

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def guidance_rescale(self) -> float:
        return self._guidance_rescale

    @property
    def clip_skip(self) -> int | None:
        return self._clip_skip

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Two network calls a step, unless the UNet takes the scale as an input."""
        return self._guidance_scale > 1 and self.unet.config.time_cond_proj_dim is None

    @property
    def cross_attention_kwargs(self) -> dict | None:
        return self._cross_attention_kwargs

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `pipeline._interrupt = True` in a callback to stop after this step."""
        return self._interrupt
