"""Text to picture. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion Model", arXiv
2211.08332."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.run import inference
from ppdiffusers.pipelines.versatile_diffusion.conditions import text_tokens, with_nothing_first
from ppdiffusers.pipelines.versatile_diffusion.painting import PaintingMixin, Settings
from ppdiffusers.pipelines.versatile_diffusion.unet_surgery import attend_to_texts


class VersatileDiffusionTextToImagePipeline(PaintingMixin, DiffusionPipeline):
    """Pictures from texts.

    Args:
        tokenizer, text_encoder: a `CLIPTokenizer` and a `CLIPTextModelWithProjection`.
        image_unet: a `UNet2DConditionModel` over latents of pictures. The pipeline's own has its layers, and the
            transformers of `text_unet`.
        text_unet: a `UNetFlatConditionModel`, or None if `image_unet` attends to texts already.
        vae: an `AutoencoderKL`, between pictures and latents.
        scheduler: any scheduler for the UNet's noise schedule.
    """

    _optional_components = ("text_unet",)
    _attend = staticmethod(attend_to_texts)

    def __init__(self, tokenizer: Any, text_encoder: Any, image_unet: Any, text_unet: Any, vae: Any, scheduler: Any):
        super().__init__()
        self._register(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            image_unet=image_unet,
            text_unet=text_unet,
            vae=vae,
            scheduler=scheduler,
        )

    def remove_unused_weights(self) -> None:
        """Let go of the text UNet: the pipeline needs nothing of it but its transformers."""
        self.register_modules(text_unet=None)

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Paint pictures of the prompts.

        Args:
            prompt: what to paint; `num_images_per_prompt` pictures for each text. Of a text of more than 77 tokens the
                first 77 are read.
            height, width: pixels, multiples of 8; by default what the UNet was trained for.
            num_inference_steps: fewer are quicker and coarser.
            guidance_scale: how strongly the prompt is followed; 1 or less is without guidance and twice as fast.
            negative_prompt: what to keep away from; without guidance it has no effect.
            eta: share of fresh noise in each DDIM step, 0 to 1.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            latents: standard normal noise [B, C, height / 8, width / 8] to start from, instead of drawing it.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: False gives `(images,)`.
            callback, callback_steps: called as `f(index, timestep, latents)`, every so many steps.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        settings = Settings(
            height, width, num_inference_steps, guidance_scale, num_images_per_prompt, eta, generator, latents,
            output_type, return_dict, callback, callback_steps,
        )  # fmt: skip
        self._check(settings, checks.batch_of(prompt, None), checks.check_prompts(prompt, None, negative_prompt, None))
        texts = [prompt] if isinstance(prompt, str) else prompt
        nothing = None
        if settings.guided:
            avoided = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * len(texts)
            nothing = text_tokens(self.tokenizer, self.text_encoder, avoided)
        tokens = text_tokens(self.tokenizer, self.text_encoder, texts)  # [B, L, D]
        return self._paint(with_nothing_first(tokens, nothing, num_images_per_prompt), settings)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            checks.check_size(height, width),
            checks.check_callbacks(None, callback_on_step_end_tensor_inputs, ("latents",), None, callback_steps),
        )
