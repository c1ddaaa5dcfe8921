"""Painting what a mask uncovers with any text-to-picture UNet, as the first releases of Stable Diffusion did it.

After each step the latents outside of the mask are replaced by the picture's, noised to that step (Lugmayr et al.,
"RePaint", arXiv 2201.09865, equation 8, with the step's own timestep instead of the next one's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import RESAMPLING
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.from_picture import FromPictureAloneMixin
from ppdiffusers.pipelines.stages.images import encode_image
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.run import Loop, inference, last_timesteps, retrieve_timesteps
from ppdiffusers.utils.torch_utils import as_generator, randn_tensor


class StableDiffusionInpaintPipelineLegacy(FromPictureAloneMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures whose masked part is painted anew; the components are those of `TextGuidedAloneMixin`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: paddle.Tensor | PIL.Image.Image | None = None,
        mask_image: paddle.Tensor | PIL.Image.Image | None = None,
        strength: float = 0.8,
        num_inference_steps: int | None = 50,
        guidance_scale: float | None = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        add_predicted_noise: bool | None = False,
        eta: float | None = 0.0,
        generator: Any = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Paint the masked part of a picture by the prompts.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            image: a PIL picture, which is used for every prompt, or a tensor [B, 3, H, W] in [-1, 1].
            mask_image: a PIL picture, white where to paint, or a tensor [B, 1 or 3, H, W] (or [B, H, W, 1 or 3]), 1
                where to keep the picture.
            strength: share of the steps taken, 0 to 1.
            add_predicted_noise: noise the picture with the unconditional prediction, instead of the noise drawn first;
                needs guidance.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        guided = checks.check_numbers(guidance_scale=guidance_scale)
        if add_predicted_noise and not guided and guidance_scale <= 1:
            guided = ["`add_predicted_noise` needs guidance: `guidance_scale` above 1"]
        batch_size = checks.batch_of(prompt, prompt_embeds)
        self.check_inputs(
            prompt,
            strength,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            None,
            _check_kind("image", image),
            _check_kind("mask_image", mask_image),
            guided,
            checks.check_sampling(self.scheduler, num_inference_steps, num_images_per_prompt, output_type, eta=eta),
            checks.check_callbacks(None, (), (), callback, callback_steps),
            checks.check_generators_of(generator, batch_size, num_images_per_prompt),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale, 0.0, clip_skip, cross_attention_kwargs)

        # 1. the steps that are left, the prompt
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = last_timesteps(
            self.scheduler, timesteps, num_inference_steps, strength, begin=False
        )
        prompt_embeds, _ = self._embed(
            prompt,
            num_images_per_prompt,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            prompt_syntax,
            long_prompts,
        )  # [2B or B, L, D]
        loop = Loop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)

        # 2. the picture, noised to the first of these steps; the mask is 1 where it is kept
        latents, image_latents, noise = self.prepare_latents(
            preprocess_image(image, batch_size),
            timesteps[:1].repeat(batch_size * num_images_per_prompt),
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w] each
        loop.watch.note("the VAE's encoder", image_latents)
        mask = preprocess_mask(mask_image, batch_size, self.vae_scale_factor).astype(latents.dtype)
        mask = paddle.concat([mask] * num_images_per_prompt)  # [B, 1, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        for i, t in loop.steps():
            noise_pred = self._predict(latents, t, prompt_embeds)  # [2B or B, C, h, w]
            if add_predicted_noise:
                noise = noise_pred.chunk(2)[0]
            noise_pred = self._guide(noise_pred)  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            known = self.scheduler.add_noise(image_latents, noise, np.asarray([t]))
            (latents,) = loop.end_step(i, t, latents=known * mask + latents * (1 - mask))

        # 4. the picture itself where it is kept; decode, judge
        latents = image_latents * mask + latents * (1 - mask)
        image, has_nsfw_concept = self._pictures(latents, output_type, prompt_embeds.dtype, loop.watch)
        return self._output(image, has_nsfw_concept, return_dict)

    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: np.ndarray,
        num_images_per_prompt: int,
        dtype: Any,
        device: Any,
        generator: Any,
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """(noised latents, clean latents, noise) of pictures [B, 3, H, W]: [B * num_images_per_prompt, C, h, w]."""
        own = generator[: image.shape[0]] if isinstance(generator, list) else generator
        clean = paddle.concat([encode_image(self.vae, image, own).astype(dtype)] * num_images_per_prompt)
        noise = randn_tensor(clean.shape, generator=generator, dtype=dtype)
        return self.scheduler.add_noise(clean, noise, timestep), clean, noise


def preprocess_image(image: paddle.Tensor | PIL.Image.Image, batch_size: int) -> paddle.Tensor:
    """A PIL picture -> [batch_size, 3, H, W] in [-1, 1], sides cut to multiples of 8; a tensor stays as it is."""
    if isinstance(image, paddle.Tensor):
        return image
    width, height = (side - side % 8 for side in image.size)
    levels = np.asarray(image.convert("RGB").resize((width, height), resample=RESAMPLING["lanczos"]))
    pixels = levels.astype(np.float32).transpose(2, 0, 1) / 255.0  # [3, H, W]
    return paddle.to_tensor(np.stack([2.0 * pixels - 1.0] * batch_size))


def preprocess_mask(mask: paddle.Tensor | PIL.Image.Image, batch_size: int, scale_factor: int = 8) -> paddle.Tensor:
    """A mask at the latents' size, [B, 1, h, w], 1 where the picture is kept.

    Args:
        mask: a PIL picture, white where to paint; or a tensor [B, C, H, W] or [B, H, W, C] with 1 or 3 channels, 1
            where to keep.
    """
    if isinstance(mask, paddle.Tensor):
        mask = mask.transpose([0, 3, 1, 2]) if mask.shape[3] in (1, 3) else mask
        if mask.shape[1] not in (1, 3):
            raise InputError(f"A mask of shape {tuple(mask.shape)} has no channel axis.", expected="1 or 3 channels")
        height, width = ((side - side % 8) // scale_factor for side in mask.shape[-2:])
        return F.interpolate(mask.mean(axis=1, keepdim=True), size=(height, width), mode="nearest")
    width, height = ((side - side % 8) // scale_factor for side in mask.size)
    levels = np.asarray(mask.convert("L").resize((width, height), resample=RESAMPLING["nearest"]))
    return paddle.to_tensor(np.stack([1 - levels.astype(np.float32)[None] / 255.0] * batch_size))


def _check_kind(name: str, value: Any) -> list[str]:
    if isinstance(value, PIL.Image.Image) or (isinstance(value, paddle.Tensor) and value.ndim == 4):
        return []
    return [f"`{name}` must be a PIL picture or a Paddle tensor of four axes, not {type(value).__name__}"]
