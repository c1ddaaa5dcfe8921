"""Picture and text to picture of the same depth: Stable Diffusion 2's UNet that sees a depth map beside the latents.

As in `StableDiffusionImg2ImgPipeline` the run starts from the noised picture; the depth keeps its shapes even when
nothing else of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.from_picture import FromPictureAloneMixin
from ppdiffusers.pipelines.stages.images import decode_latents, repeat_to
from ppdiffusers.pipelines.stages.prompts import dtype_of
from ppdiffusers.pipelines.stages.published import mend_unet
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionDepth2ImgPipeline(FromPictureAloneMixin, DiffusionPipeline):
    """Pictures made from a picture, its depth and a prompt; other components are those of `TextGuidedMixin`.

    Args:
        unet: a `UNet2DConditionModel` with one input channel more than the latents have: the depth.
        depth_estimator: a `DPTForDepthEstimation`.
        feature_extractor: a `DPTImageProcessor`, which prepares pictures for it.
    """

    _optional_components = ()
    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "depth_mask")

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        depth_estimator: Any,
        feature_extractor: Any,
    ):
        DiffusionPipeline.__init__(self)
        mend_unet(unet)
        self._register(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            depth_estimator=depth_estimator,
            feature_extractor=feature_extractor,
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        depth_map: paddle.Tensor | None = None,
        strength: float = 0.8,
        num_inference_steps: int | None = 50,
        guidance_scale: float | None = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float | None = 0.0,
        generator: Any = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
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
    ) -> ImagePipelineOutput | tuple:
        """Change pictures towards the prompts and keep their depth.

        Arguments that are not listed mean what they mean in `StableDiffusionImg2ImgPipeline`.

        Args:
            image: the pictures to start from, or, with a `depth_map`, their latents [N, C, h, w].
            depth_map: [N, H, W], larger is nearer, of any size and scale; by default it is estimated.
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        batch_size = checks.batch_of(prompt, prompt_embeds)
        self.check_inputs(
            prompt,
            strength,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            tensor_inputs,
            checks.check_pictures(image=image),
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_depth_map(depth_map),
            checks.check_callbacks(callback_on_step_end, (), (), callback, None),
            checks.check_generators_of(generator, batch_size, num_images_per_prompt),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale, 0.0, clip_skip, cross_attention_kwargs)

        # 1. the steps that are left, the prompt
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
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

        # 2. the depth, and the picture's latents, noised to the first of these steps
        depth_mask = self.prepare_depth_map(
            image,
            depth_map,
            batch_size * num_images_per_prompt,
            self.do_classifier_free_guidance,
            prompt_embeds.dtype,
            self.device,
        )  # [2B or B, 1, h, w]
        latents = self.prepare_latents(
            self.image_processor.preprocess(image),
            timesteps[:1].repeat(batch_size * num_images_per_prompt),
            batch_size,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w]
        loop.watch.note("the VAE's encoder", latents)
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        for i, t in loop.steps():
            noise_pred = self._predict(latents, t, prompt_embeds, seen=(depth_mask,))  # [2B or B, C, h, w]
            noise_pred = self._guide(noise_pred)  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, negative_prompt_embeds, depth_mask = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                depth_mask=depth_mask,
            )

        # 4. decode
        if output_type != "latent":
            latents = decode_latents(self.vae, latents, loop.watch)  # [B, 3, H, W]
        loop.watch.warn()
        images = self.image_processor.postprocess(latents, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def prepare_depth_map(
        self,
        image: PipelineImageInput,
        depth_map: paddle.Tensor | None,
        batch_size: int,
        do_classifier_free_guidance: bool,
        dtype: Any,
        device: Any,
    ) -> paddle.Tensor:
        """The depth [2B or B, 1, h, w] of the pictures, of the latents' size and stretched to [-1, 1]; nearer is more.

        Raises:
            InputError: latents without a depth map, or a map that is the same everywhere.
        """
        images = _one_by_one(image)
        size, latents = self._latent_size(images[0])
        if depth_map is None and latents:
            raise InputError("Latents have no depth that could be estimated.", remedy="pass `depth_map`.")
        if depth_map is None:
            pixels = self.feature_extractor(images=images, return_tensors="np")["pixel_values"]
            depth_map = self.depth_estimator(paddle.to_tensor(pixels).astype(dtype_of(self.depth_estimator)))[0]
        depth = depth_map.astype("float32").unsqueeze(1)  # [N, 1, H, W]
        depth = F.interpolate(depth, size=size, mode="bicubic", align_corners=False)
        least, most = depth.amin(axis=[1, 2, 3], keepdim=True), depth.amax(axis=[1, 2, 3], keepdim=True)
        if bool((least == most).any()):
            raise InputError(
                "The depth is the same everywhere: it cannot be stretched to [-1, 1].",
                where="`depth_map`" if latents else "the estimated depth, or `depth_map`",
            )
        depth = (2.0 * (depth - least) / (most - least) - 1.0).astype(dtype)
        depth = repeat_to(depth, batch_size, "depth_map")
        return paddle.concat([depth] * 2) if do_classifier_free_guidance else depth

    def _latent_size(self, image: Any) -> tuple[list[int], bool]:
        """(height and width of the latents of a picture, whether it is latents already)."""
        if isinstance(image, PIL.Image.Image):
            height, width = image.height, image.width
        elif isinstance(image, paddle.Tensor):  # [C, H, W]
            height, width = image.shape[-2:]
            if image.shape[0] == self.vae.config.latent_channels:
                return [height, width], True
        else:  # [H, W, C]
            height, width = image.shape[:2]
        return [height // self.vae_scale_factor, width // self.vae_scale_factor], False


def _one_by_one(image: PipelineImageInput) -> list:
    """The pictures of a list, of a batch, or of a list of batches."""
    if isinstance(image, PIL.Image.Image) or getattr(image, "ndim", 0) in (2, 3):
        return [image]
    return [one for some in image for one in (some if getattr(some, "ndim", 0) == 4 else [some])]
