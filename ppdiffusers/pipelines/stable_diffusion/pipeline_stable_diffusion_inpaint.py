"""Painting what a mask uncovers, by the prompt.

With a UNet of 9 input channels, which was trained to see the mask and the masked picture (Rombach et al., arXiv
2112.10752), or with any text-to-picture UNet of 4, whose latents are held to the noised picture outside of the mask
(Lugmayr et al., "RePaint", arXiv 2201.09865, equation 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.inpainting import InpaintingMixin, check_crop, check_latents_to_paint
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionInpaintPipeline(InpaintingMixin, TextGuidedMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures whose masked part is painted anew; the components are those of `TextGuidedMixin`."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "mask", "masked_image_latents")
    _mended_settings = ("steps_offset", "skip_prk_steps")

    def _set_up(self, requires_safety_checker: bool, **components: Any) -> None:
        unet = components["unet"]
        if unet is not None and unet.config.in_channels not in (4, 9):
            raise ConfigError(
                f"The UNet takes {unet.config.in_channels} channels and cannot inpaint.",
                expected="9 (latents, mask, masked picture), or 4 (latents alone)",
            )
        super()._set_up(requires_safety_checker, **components)
        self.mask_processor = VaeImageProcessor(
            vae_scale_factor=self.vae_scale_factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        mask_image: PipelineImageInput | None = None,
        masked_image_latents: paddle.Tensor | None = None,
        height: int | None = None,
        width: int | None = None,
        padding_mask_crop: int | None = None,
        strength: float = 1.0,
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
        clip_skip: int | None = None,
        callback_on_step_end: Callable[[Any, int, Any, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Paint the masked part of pictures by the prompts.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            image: the pictures, resized to `height` and `width`; or their latents.
            mask_image: as many masks, white (1) where to paint.
            masked_image_latents: latents of the pictures without their masked part, instead of having them encoded.
            height, width: pixels, multiples of 8; by default what the UNet was trained for, not the picture's.
            padding_mask_crop: paint a cut-out only: the box around the mask and so many pixels more, enlarged to
                `height` x `width` and put back afterwards. `image` and `mask_image` are PIL pictures then.
            strength: share of the steps taken; below 1 the painting starts from the picture that is there.
            generator: draws, as far as they are needed, the picture's latents, the noise, the masked picture's latents.
            latents: the noise [B, C, height / 8, width / 8], instead of drawing it; the run then starts from it,
                whatever the strength.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        height, width = self._size_of_each(height, width)
        prompts = checks.batch_of(prompt, prompt_embeds)
        channels = self.vae.config.latent_channels
        self.check_inputs(
            prompt,
            image,
            mask_image,
            height,
            width,
            strength,
            callback_steps,
            output_type,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            ip_adapter_image,
            ip_adapter_image_embeds,
            tensor_inputs,
            padding_mask_crop,
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                timesteps,
                sigmas,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end, (), (), callback, None),
            check_latents_to_paint(image, masked_image_latents, channels),
            checks.check_noise(
                latents, generator, prompts, num_images_per_prompt, channels, (height, width), self.vae_scale_factor
            ),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale, 0.0, clip_skip, cross_attention_kwargs)
        sees_mask = self.unet.config.in_channels == 9

        # 1. the steps that are left, the prompt
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
        self._num_timesteps = len(timesteps)
        prompt_embeds, negative_prompt_embeds = self._embed(
            prompt,
            num_images_per_prompt,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            prompt_syntax,
            long_prompts,
        )  # [2B or B, L, D]
        loop = Loop(self, timesteps, num_inference_steps, callback_on_step_end, tensor_inputs, callback, callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)

        # 2. the picture and its mask, or the part of both that is to be painted
        crop = None
        if padding_mask_crop is not None:
            crop = self.mask_processor.get_crop_region(mask_image, width, height, pad=padding_mask_crop)
        resize_mode = "default" if crop is None else "fill"
        picture = self.image_processor.preprocess(image, height, width, resize_mode, crop).astype("float32")
        mask = self.mask_processor.preprocess(mask_image, height, width, resize_mode, crop)  # [N, 1, H, W]

        # 3. the latents to start from, those of the picture, and what the UNet sees besides
        latents, noise, image_latents = self.prepare_latents(
            batch_size,
            channels,
            height,
            width,
            prompt_embeds.dtype,
            self.device,
            generator,
            latents,
            picture,
            timesteps[:1].repeat(batch_size),
            strength == 1.0,
            True,
            not sees_mask,
        )  # [B, C, h, w]
        masked_image = picture * (mask < 0.5).astype(picture.dtype) if masked_image_latents is None else None
        mask, masked_image_latents = self.prepare_mask_latents(
            mask,
            masked_image_latents if masked_image is None else masked_image,
            batch_size,
            height,
            width,
            prompt_embeds.dtype,
            self.device,
            generator,
            self.do_classifier_free_guidance,
        )  # [2B or B, 1, h, w], [2B or B, C, h, w]
        loop.watch.note("the VAE's encoder", masked_image_latents)
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)
        timestep_cond = self._guidance_condition(batch_size, latents.dtype)

        # 4. denoise
        for i, t in loop.steps():
            seen = (mask, masked_image_latents) if sees_mask else ()
            noise_pred = self._predict(latents, t, prompt_embeds, timestep_cond, seen)  # [2B or B, C, h, w]
            noise_pred = self._guide(noise_pred)  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            if not sees_mask:
                known = image_latents
                if i < len(timesteps) - 1:
                    known = self.scheduler.add_noise(image_latents, noise, timesteps[i + 1 : i + 2])
                latents = (1 - mask[:batch_size]) * known + mask[:batch_size] * latents
            latents, prompt_embeds, negative_prompt_embeds, mask, masked_image_latents = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                mask=mask,
                masked_image_latents=masked_image_latents,
            )

        # 5. decode, judge, put the cut-out back
        painted, has_nsfw_concept = self._pictures(latents, output_type, prompt_embeds.dtype, loop.watch)
        if crop is not None:
            painted = [self.image_processor.apply_overlay(mask_image, image, one, crop) for one in painted]
        return self._output(painted, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        mask_image: Any,
        height: Any,
        width: Any,
        strength: Any,
        callback_steps: Any,
        output_type: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
        padding_mask_crop: Any = None,
        *more_findings: list[str],
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            checks.check_pictures(image=image, mask_image=mask_image),
            checks.check_size(height, width),
            checks.check_strength(strength),
            checks.check_callbacks(
                None, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs, None, callback_steps
            ),
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
            check_crop(padding_mask_crop, image, mask_image, output_type),
            *more_findings,
        )
