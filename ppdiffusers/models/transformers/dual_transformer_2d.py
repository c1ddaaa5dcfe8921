"""Two transformers over the same features, each with its own condition (Versatile Diffusion, arXiv 2211.08332, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers.models.modeling_outputs import Transformer2DModelOutput
from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel


class DualTransformer2DModel(nn.Layer):
    """Mix the residuals of two transformers.

    Args:
        transformers: the one that attends to images, and the one that attends to prompts.
    """

    mix_ratio = 0.5
    condition_lengths = (77, 257)
    # which transformer reads the first condition (the prompt), and which the second (the image)
    transformer_index_for_condition = (1, 0)

    def __init__(self, transformers: Sequence[Transformer2DModel]):
        super().__init__()
        self.transformers = nn.LayerList(list(transformers))

    def forward(
        self,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        timestep: paddle.Tensor | int | None = None,
        attention_mask: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[paddle.Tensor]:
        """Transform features [B, C, H, W].

        Args:
            encoder_hidden_states: [B, S1 + S2, D], the tokens of the prompt, then those of the image.
            attention_mask: a bias [B, 1 or N, N].
            cross_attention_kwargs: keyword arguments of the attention processors, and two of this layer: `mix_ratio`,
                the weight of the first condition, 0 to 1 (default: 0.5); and `condition_lengths`, (S1, S2) (default:
                the lengths of Stable Diffusion's text encoder and of CLIP's largest image encoder).
            encoder_attention_mask: a bias [B, 1 or N, S1 + S2].
        """
        kwargs = dict(cross_attention_kwargs or {})
        mix_ratio, lengths = kwargs.pop("mix_ratio", None), kwargs.pop("condition_lengths", None)
        mix_ratio = self.mix_ratio if mix_ratio is None else mix_ratio
        start, residuals = 0, []
        for index, length in zip(self.transformer_index_for_condition, lengths or self.condition_lengths):
            part = slice(start, start + length)
            output = self.transformers[index](
                hidden_states,
                encoder_hidden_states[:, part],  # [B, S1 or S2, D]
                timestep,
                cross_attention_kwargs=kwargs,
                attention_mask=attention_mask,
                encoder_attention_mask=None if encoder_attention_mask is None else encoder_attention_mask[..., part],
                return_dict=False,
            )[0]
            residuals.append(output - hidden_states)
            start += length
        mixed = residuals[0] * mix_ratio + residuals[1] * (1 - mix_ratio) + hidden_states
        return Transformer2DModelOutput(sample=mixed) if return_dict else (mixed,)
