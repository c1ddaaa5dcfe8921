"""Embeddings that Versatile Diffusion attends to.

They are all tokens of CLIP's encoders, projected to CLIP's common space and divided by the norm of CLIP's embedding of
the prompt or image (Xu et al., arXiv 2211.08332, section 3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stages.prompt_encoders import PromptEncoder
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.pil_modes import rgb_images

if TYPE_CHECKING:
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

# The unconditional image: grey, of the size that the network was trained on.
UNCONDITIONAL_IMAGE = np.full((512, 512, 3), 0.5)


def encode_prompts(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModelWithProjection, prompts: list[str]
) -> paddle.Tensor:
    """Encode prompts to [B, L, D]; longer ones are truncated, with a warning."""
    encoder = PromptEncoder(tokenizer, text_encoder)
    output = encoder.run(*encoder.tokenize(prompts, warn=True))
    embeds = text_encoder.text_projection(output.last_hidden_state)  # [B, L, D]
    return embeds / output.text_embeds.norm(axis=-1, keepdim=True).unsqueeze(1)


def encode_images(
    feature_extractor: CLIPImageProcessor, image_encoder: CLIPVisionModelWithProjection, images: Any
) -> paddle.Tensor:
    """Encode images to [B, 1 + patches, D]; the first token is CLIP's embedding of the image."""
    pixels = feature_extractor(images=rgb_images(images), return_tensors="np")["pixel_values"]  # [B, 3, H, W]
    states = image_encoder(paddle.to_tensor(np.asarray(pixels)).astype(dtype_of(image_encoder))).last_hidden_state
    embeds = image_encoder.visual_projection(image_encoder.vision_model.post_layernorm(states))  # [B, L, D]
    return embeds / embeds[:, :1].norm(axis=-1, keepdim=True)


def with_unconditional(
    embeds: paddle.Tensor, unconditional: paddle.Tensor | None, num_images_per_prompt: int
) -> paddle.Tensor:
    """Repeat embeddings [B, L, D] to [B * num_images_per_prompt, L, D], and put the unconditional ones first."""
    embeds = embeds.repeat_interleave(num_images_per_prompt, axis=0)
    if unconditional is None:
        return embeds
    return paddle.concat([unconditional.repeat_interleave(num_images_per_prompt, axis=0), embeds])


def num_images(image: Any) -> int:
    """The number of images in an image, a list of images, or an array or tensor [B, ...]."""
    if isinstance(image, (list, tuple)):
        return len(image)
    return image.shape[0] if getattr(image, "ndim", 0) == 4 else 1
