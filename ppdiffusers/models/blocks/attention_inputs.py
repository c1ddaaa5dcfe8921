"""What the attention layers of a UNet's blocks are called with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import paddle

# [B, S, D], the prompt; with IP-Adapters, a tuple of it and a list of image tokens.
Prompt: TypeAlias = "paddle.Tensor | tuple[paddle.Tensor, list[paddle.Tensor]]"


@dataclass(frozen=True)
class AttentionInputs:
    """Inputs of all attention layers in one forward pass.

    Attributes:
        encoder_hidden_states: [B, S, D], the prompt; with IP-Adapters, a tuple of it and a list of image tokens.
        attention_mask: a bias [B, 1, H*W] over the pixels.
        encoder_attention_mask: a bias [B, 1, S] over the prompt.
        cross_attention_kwargs: keyword arguments of the attention processors.
    """

    encoder_hidden_states: Prompt | None = None
    attention_mask: paddle.Tensor | None = None
    encoder_attention_mask: paddle.Tensor | None = None
    cross_attention_kwargs: dict[str, object] | None = None
