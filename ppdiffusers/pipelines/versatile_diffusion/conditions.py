"""What Versatile Diffusion attends to: all tokens of CLIP's encoders in CLIP's common space, as long as CLIP's own
embedding of the text or picture is when it has length 1 (Xu et al., arXiv 2211.08332, section 3.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stages.prompts import dtype_of, run_text_encoder, tokenize

# "No picture": grey, of the size the network was trained on.
NO_PICTURE = np.full((512, 512, 3), 0.5)


def text_tokens(tokenizer: Any, text_encoder: paddle.nn.Layer, texts: list[str]) -> paddle.Tensor:
    """[B, L, D]; what the encoder cannot read is cut off, with a warning."""
    output = run_text_encoder(text_encoder, *tokenize(tokenizer, texts, tell_truncation=True))
    tokens = text_encoder.text_projection(output.last_hidden_state)
    return tokens / output.text_embeds.norm(axis=-1, keepdim=True).unsqueeze(1)


def picture_tokens(feature_extractor: Any, image_encoder: paddle.nn.Layer, pictures: Any) -> paddle.Tensor:
    """[B, 1 + patches, D]; the first token is CLIP's embedding of the picture."""
    pixels = feature_extractor(images=pictures, return_tensors="np")["pixel_values"]  # [B, 3, H, W]
    states = image_encoder(paddle.to_tensor(np.asarray(pixels)).astype(dtype_of(image_encoder))).last_hidden_state
    tokens = image_encoder.visual_projection(image_encoder.vision_model.post_layernorm(states))
    return tokens / tokens[:, :1].norm(axis=-1, keepdim=True)


def with_nothing_first(
    tokens: paddle.Tensor, nothing: paddle.Tensor | None, num_images_per_prompt: int
) -> paddle.Tensor:
    """[B, L, D] -> [B * num_images_per_prompt, L, D], and with guidance the tokens to keep away from before them."""
    tokens = tokens.repeat_interleave(num_images_per_prompt, axis=0)
    if nothing is None:
        return tokens
    return paddle.concat([nothing.repeat_interleave(num_images_per_prompt, axis=0), tokens])


def pictures_in(image: Any) -> int:
    """How many pictures there are: a picture, a list of them, or an array or tensor [B, ...]."""
    if isinstance(image, (list, tuple)):
        return len(image)
    return image.shape[0] if getattr(image, "ndim", 0) == 4 else 1
