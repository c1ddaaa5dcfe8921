"""Decoupled cross-attention: the attention processor of IP-Adapters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.masks import mask_to_tokens
from ppdiffusers.models.attention.processors import attend, finish, query_and_mix
from ppdiffusers.runtime.state import StatefulLayer, state_of_numbers, traced_state

if TYPE_CHECKING:
    from ppdiffusers.models.attention.attention import Attention

# Of one adapter: a number, or a number for each image with a mask.
Scale = float | list[float]


class IPAdapterAttnProcessor(StatefulLayer, nn.Layer):
    """Cross-attention to the prompt, and to the image tokens of each IP-Adapter with its own keys and values.

    Ye et al., arXiv 2308.06721, equation 5: the results are added, those of an adapter times its scale.

    Args:
        hidden_size: channels of the keys and values.
        cross_attention_dim: channels of the image tokens.
        num_tokens: number of tokens of an image, for each adapter.
        scale: one for all adapters, or a list with one for each.

    Attributes:
        scale: for each adapter a number, or a list with one for each of its images, which requires masks. Compiled
            programs get the scales as inputs.
    """

    compilable = True
    state_attributes = ("scale",)

    def __init__(
        self,
        hidden_size: int,
        cross_attention_dim: int | None = None,
        num_tokens: int | Sequence[int] = (4,),
        scale: float | list[Scale] = 1.0,
    ):
        super().__init__()
        self.num_tokens = list(num_tokens) if isinstance(num_tokens, (list, tuple)) else [num_tokens]
        count = len(self.num_tokens)
        self.scale: list[Scale] = list(scale) if isinstance(scale, list) else [scale] * count
        if len(self.scale) != count:
            raise ConfigError(f"There are {len(self.scale)} scales for {count} adapters.", expected="one for each")
        self.hidden_size, self.cross_attention_dim = hidden_size, cross_attention_dim
        self.to_k_ip = self._projections(count)
        self.to_v_ip = self._projections(count)

    def _projections(self, count: int) -> nn.LayerList:
        width = self.cross_attention_dim or self.hidden_size
        return nn.LayerList([nn.Linear(width, self.hidden_size, bias_attr=False) for _ in range(count)])

    def program_state(self) -> tuple[paddle.Tensor, ...]:
        """Return the scale of each adapter: a scalar, or [N] if it has one for each image."""
        place = str(self.to_k_ip[0].weight.place)
        return tuple(state_of_numbers(tuple(s) if isinstance(s, list) else s, place) for s in self.scale)

    def forward(
        self,
        attn: Attention,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: tuple[paddle.Tensor, list[paddle.Tensor]] | paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        temb: paddle.Tensor | None = None,
        scale: float = 1.0,
        ip_adapter_masks: list[paddle.Tensor | None] | paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Attend to the prompt and to images.

        Args:
            encoder_hidden_states: the prompt [B, S, D], and for each adapter the tokens of its images [B, N, T, D]. In
                a tensor, which is deprecated, the tokens of one adapter follow those of the prompt.
            scale: has no effect, as in diffusers; the scales of the adapters are attributes.
            ip_adapter_masks: for each adapter the regions of its images, [1, N, H, W], or None.

        Raises:
            InputError: masks, images and scales do not fit together.
        """
        prompt, images = self._split(encoder_hidden_states)
        masks = _as_list(ip_adapter_masks, len(images))
        self._check(images, masks)
        query, mixed = query_and_mix(attn, hidden_states, prompt, attention_mask, attn.slice_size)  # [B, Q, H*D]
        for n, (tokens, mask) in enumerate(zip(images, masks)):
            for part, factor in self._factors(n, tokens, mask, query):
                key, value = self.to_k_ip[n](part), self.to_v_ip[n](part)  # [B, T, H*D]
                mixed = mixed + factor * attend(attn, query, key, value, None, attn.slice_size)
        return finish(attn, mixed, hidden_states)

    def _split(
        self, encoder_hidden_states: tuple[paddle.Tensor, list[paddle.Tensor]] | paddle.Tensor | None
    ) -> tuple[paddle.Tensor | None, list[paddle.Tensor]]:
        if encoder_hidden_states is None:
            return None, []
        if isinstance(encoder_hidden_states, tuple):
            return encoder_hidden_states
        end = encoder_hidden_states.shape[1] - self.num_tokens[0]
        return encoder_hidden_states[:, :end], [encoder_hidden_states[:, end:].unsqueeze(1)]

    def _factors(
        self, n: int, tokens: paddle.Tensor, mask: paddle.Tensor | None, query: paddle.Tensor
    ) -> Iterator[tuple[paddle.Tensor, Any]]:
        """Yield tokens to attend to, [B, T, D], and the factor of the result, for the images of one adapter.

        Without a mask, the tokens of all images are one sequence.
        """
        state, scale = traced_state(self), self.scale[n]
        if state is None and not any(scale if isinstance(scale, list) else [scale]):
            return
        factor: Any = scale if state is None else state[n].astype(query.dtype)
        if mask is None:
            yield tokens.flatten(1, 2), factor
            return
        for i in range(tokens.shape[1]):
            region = mask_to_tokens(mask[:, i].astype("float32"), query.shape[0], query.shape[1])  # [1 or B, Q]
            of_image = factor[i] if isinstance(scale, list) else factor
            yield tokens[:, i], of_image * region.astype(query.dtype).unsqueeze(-1)

    def _check(self, images: list[paddle.Tensor], masks: list[paddle.Tensor | None]) -> None:
        problems = []
        if images and len(masks) != len(self.scale):
            problems.append(f"there are masks for {len(masks)} adapters and {len(self.scale)} adapters")
        for n, (tokens, mask, scale) in enumerate(zip(images, masks, self.scale)):
            count, scales = tokens.shape[1], len(scale) if isinstance(scale, list) else None
            if mask is None:
                if scales is not None:
                    problems.append(f"adapter {n} has {scales} scales for single images, which require masks")
                continue
            if mask.ndim != 4:
                problems.append(f"the mask of adapter {n} has shape {list(mask.shape)}, not [1, images, height, width]")
                continue
            if mask.shape[1] != count:
                problems.append(f"adapter {n} has {mask.shape[1]} masks for {count} images")
            if scales not in (None, count):
                problems.append(f"adapter {n} has {scales} scales for {count} images")
        if problems:
            raise InputError(
                "Masks, scales and images of the IP-Adapters do not fit together.",
                problems=problems,
                remedy="prepare masks with `IPAdapterMaskProcessor`: "
                "`cross_attention_kwargs={'ip_adapter_masks': [mask of each adapter]}`.",
            )


class IPAdapterAttnProcessor2_0(IPAdapterAttnProcessor):
    """The processor that `load_ip_adapter` sets; the same as `IPAdapterAttnProcessor`."""


def _as_list(masks: list[paddle.Tensor | None] | paddle.Tensor | None, count: int) -> list[paddle.Tensor | None]:
    """One mask for each adapter; a tensor [A, 1, H, W] has one image for each."""
    if masks is None:
        return [None] * count
    return list(masks) if isinstance(masks, (list, tuple)) else [mask.unsqueeze(1) for mask in masks.unbind(0)]
