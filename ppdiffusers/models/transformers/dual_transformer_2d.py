"""Two transformers side by side, each with its own condition (Versatile Diffusion, arXiv 2211.08332, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers.models.modeling_outputs import Transformer2DModelOutput
from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel

# Which transformer reads the first condition, and which the second: text comes first, its transformer is the second.
_READER = (1, 0)


class DualTransformer2DModel(nn.Layer):
    """What two transformers add to the same features, mixed.

    Args:
        transformers: the one that attends to pictures, and the one that attends to texts.
    """

    mix_ratio = 0.5
    condition_lengths = (77, 257)

    def __init__(self, transformers: Sequence[Transformer2DModel]):
        super().__init__()
        self.transformers = nn.LayerList(list(transformers))

    def forward(
        self,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        attention_mask: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        mix_ratio: paddle.Tensor | float | None = None,
        condition_lengths: Sequence[int] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple:
        """Features [B, C, H, W] to features.

        Args:
            encoder_hidden_states: [B, S1 + S2, D], the text's tokens and then the picture's.
            attention_mask: a bias [B, 1 or N, N]; encoder_attention_mask: one [B, 1 or N, S1 + S2].
            mix_ratio: share of the first condition, 0 to 1; half of each by default.
            condition_lengths: (S1, S2); by default those of Stable Diffusion's text encoder and of CLIP's largest
                image encoder.
        """
        mix_ratio = self.mix_ratio if mix_ratio is None else mix_ratio
        start, added = 0, []
        for reader, length in zip(_READER, condition_lengths or self.condition_lengths):
            part = slice(start, start + length)
            mask = None if encoder_attention_mask is None else encoder_attention_mask[..., part]
            condition = encoder_hidden_states[:, part]  # [B, S1 or S2, D]
            output = self.transformers[reader](hidden_states, condition, None, attention_mask, mask, return_dict=False)[
                0
            ]
            added.append(output - hidden_states)
            start += length
        mixed = added[0] * mix_ratio + added[1] * (1 - mix_ratio) + hidden_states
        return Transformer2DModelOutput(sample=mixed) if return_dict else (mixed,)
