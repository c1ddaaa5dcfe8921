"""Pictures from texts and pictures. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion
Model", arXiv 2211.08332, section 3.4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.run import inference
from ppdiffusers.pipelines.versatile_diffusion.all_components import AllComponents
from ppdiffusers.pipelines.versatile_diffusion.conditions import (
    NO_PICTURE,
    picture_tokens,
    pictures_in,
    text_tokens,
    with_nothing_first,
)
from ppdiffusers.pipelines.versatile_diffusion.painting import PaintingMixin, Settings
from ppdiffusers.pipelines.versatile_diffusion.unet_surgery import attend_to_both


class VersatileDiffusionDualGuidedPipeline(PaintingMixin, AllComponents):
    """Pictures that show what a text says and are like a picture.

    Args:
        tokenizer, text_encoder: a `CLIPTokenizer` and a `CLIPTextModelWithProjection`.
        image_feature_extractor, image_encoder: a `CLIPImageProcessor` and a `CLIPVisionModelWithProjection`.
        image_unet: a `UNet2DConditionModel` over latents of pictures. The pipeline's own has its layers, and beside
            its transformers those of `text_unet`.
        text_unet: a `UNetFlatConditionModel`, or None if `image_unet` attends to both already.
        vae: an `AutoencoderKL`, between pictures and latents.
        scheduler: any scheduler for the UNet's noise schedule.
    """

    _optional_components = ("text_unet",)
    _attend = staticmethod(attend_to_both)

    def remove_unused_weights(self) -> None:
        """Let go of the text UNet: the pipeline needs nothing of it but its transformers."""
        self.register_modules(text_unet=None)

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor,
        text_to_image_strength: float = 0.5,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Paint pictures.

        Args:
            prompt: what to paint. Of a text of more than 77 tokens the first 77 are read.
            image: what the result is to be like, one picture for each text. Arrays and tensors hold 0 to 255, or
                fractions from 0 to 1.
            text_to_image_strength: the text's share, 0 to 1; the picture has the rest.
            guidance_scale: how strongly both are followed; 1 or less is without guidance and twice as fast.
            height, width, num_inference_steps, num_images_per_prompt, eta, generator, latents, output_type,
                return_dict, callback, callback_steps: as in `VersatileDiffusionTextToImagePipeline`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        settings = Settings(
            height, width, num_inference_steps, guidance_scale, num_images_per_prompt, eta, generator, latents,
            output_type, return_dict, callback, callback_steps,
        )  # fmt: skip
        findings = [*checks.check_prompts(prompt, None, None, None), *checks.check_pictures(image=image)]
        count = checks.batch_of(prompt, None)
        if not findings and pictures_in(image) != count:
            findings.append(f"`image` has {pictures_in(image)} pictures for {count} prompt(s)")
        self._check(settings, count, findings, _check_share(text_to_image_strength))

        texts, nothing = [prompt] if isinstance(prompt, str) else prompt, None
        if settings.guided:
            nothing, _ = self._tokens([""] * count, [NO_PICTURE] * count)
        tokens, lengths = self._tokens(texts, image)
        return self._paint(
            with_nothing_first(tokens, nothing, num_images_per_prompt),
            settings,
            {"mix_ratio": paddle.to_tensor(float(text_to_image_strength)), "condition_lengths": lengths},
        )

    def _tokens(self, texts: list[str], pictures: Any) -> tuple[paddle.Tensor, tuple[int, int]]:
        """The tokens of texts and behind them those of pictures, [B, L1 + L2, D]; L1 and L2."""
        parts = (
            text_tokens(self.tokenizer, self.text_encoder, texts),
            picture_tokens(self.image_feature_extractor, self.image_encoder, pictures),
        )
        return paddle.concat(parts, axis=1), tuple(part.shape[1] for part in parts)

    def check_inputs(self, prompt: Any, image: Any, height: Any, width: Any, callback_steps: Any) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        checks.refuse(
            self,
            checks.check_prompts(prompt, None, None, None),
            checks.check_pictures(image=image),
            checks.check_size(height, width),
            checks.check_counts(callback_steps=callback_steps),
        )


def _check_share(text_to_image_strength: Any) -> list[str]:
    problems = checks.check_numbers(text_to_image_strength=text_to_image_strength)
    if not problems and not 0 <= text_to_image_strength <= 1:
        problems.append(f"`text_to_image_strength` must lie between 0 and 1, not {text_to_image_strength!r}")
    return problems
