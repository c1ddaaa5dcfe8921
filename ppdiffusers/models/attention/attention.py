"""Multi-head attention whose computation is a replaceable processor."""

from __future__ import annotations

import inspect

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.processors import (
    AttentionProcessor,
    AttnAddedKVProcessor2_0,
    AttnProcessor2_0,
    FusedAttnProcessor2_0,
)
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Keyword arguments of IP-Adapter processors. Other processors ignore them without a warning.
_QUIET_KWARGS = ("ip_adapter_masks", "ip_hidden_states")


class Attention(nn.Layer):
    """Multi-head attention over tokens [B, N, C] or over the pixels of feature maps [B, C, H, W].

    The layer holds the parameters; its `processor` computes. Names and methods are those of diffusers' `Attention`.

    Args:
        query_dim: channels of the input.
        cross_attention_dim: channels of `encoder_hidden_states`; None for self-attention.
        heads: number of heads.
        dim_head: width of a head.
        bias: whether the query, key and value projections have a bias.
        upcast_attention: compute scores in float32.
        upcast_softmax: compute the softmax in float32.
        cross_attention_norm: norm of `encoder_hidden_states`: None, "layer_norm" or "group_norm".
        added_kv_proj_dim: channels of a prompt whose keys and values are joined with those of the pixels.
        norm_num_groups: groups of a GroupNorm over the input; None for no norm.
        scale_qk: scale scores by `dim_head ** -0.5`.
        only_cross_attention: with `added_kv_proj_dim`, attend to the prompt only.
        rescale_output_factor: the output is divided by this number.
        residual_connection: add the input to the output.
        processor: computes the attention; by default `AttnProcessor2_0`, or `AttnAddedKVProcessor2_0` with
            `added_kv_proj_dim`.
    """

    # norms that diffusers' processors look for and that these networks do not have
    spatial_norm = None
    norm_q = None
    norm_k = None

    def __init__(
        self,
        query_dim: int,
        cross_attention_dim: int | None = None,
        heads: int = 8,
        dim_head: int = 64,
        dropout: float = 0.0,
        bias: bool = False,
        upcast_attention: bool = False,
        upcast_softmax: bool = False,
        cross_attention_norm: str | None = None,
        added_kv_proj_dim: int | None = None,
        norm_num_groups: int | None = None,
        out_bias: bool = True,
        scale_qk: bool = True,
        only_cross_attention: bool = False,
        eps: float = 1e-5,
        rescale_output_factor: float = 1.0,
        residual_connection: bool = False,
        processor: AttentionProcessor | None = None,
    ):
        super().__init__()
        if only_cross_attention and added_kv_proj_dim is None:
            raise ConfigError("only_cross_attention needs added_kv_proj_dim, which is None.")
        inner_dim = heads * dim_head
        context_dim = query_dim if cross_attention_dim is None else cross_attention_dim
        bias_attr = None if bias else False
        self.inner_dim = self.inner_kv_dim = inner_dim
        self.query_dim = self.out_dim = query_dim
        self.cross_attention_dim, self.is_cross_attention = context_dim, cross_attention_dim is not None
        self.heads = self.sliceable_head_dim = heads
        self.scale_qk, self.scale = scale_qk, dim_head**-0.5 if scale_qk else 1.0
        self.upcast_attention, self.upcast_softmax = upcast_attention, upcast_softmax
        self.added_kv_proj_dim, self.only_cross_attention = added_kv_proj_dim, only_cross_attention
        self.rescale_output_factor, self.residual_connection = rescale_output_factor, residual_connection
        self.slice_size: int | None = None

        self.group_norm = None
        if norm_num_groups is not None:
            self.group_norm = nn.GroupNorm(norm_num_groups, query_dim, epsilon=eps)
        self.to_q = nn.Linear(query_dim, inner_dim, bias_attr=bias_attr)
        self.to_k = self.to_v = None
        if not only_cross_attention:
            self.to_k = nn.Linear(context_dim, inner_dim, bias_attr=bias_attr)
            self.to_v = nn.Linear(context_dim, inner_dim, bias_attr=bias_attr)
        self.add_k_proj = self.add_v_proj = None
        if added_kv_proj_dim is not None:
            self.add_k_proj = nn.Linear(added_kv_proj_dim, inner_dim)
            self.add_v_proj = nn.Linear(added_kv_proj_dim, inner_dim)
        self.norm_cross = _cross_norm(cross_attention_norm, added_kv_proj_dim, context_dim)
        out_attr = None if out_bias else False
        self.to_out = nn.LayerList([nn.Linear(inner_dim, query_dim, bias_attr=out_attr), nn.Dropout(dropout)])
        self.set_processor(self.default_processor() if processor is None else processor)

    def forward(
        self,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        **cross_attention_kwargs: object,
    ) -> paddle.Tensor:
        """Attend; the result has the shape of `hidden_states`.

        Args:
            hidden_states: [B, N, C] or [B, C, H, W].
            encoder_hidden_states: [B, S, cross_attention_dim]; None for self-attention.
            attention_mask: a bias [B, 1 or Q, K] that is added to the scores.
            cross_attention_kwargs: keyword arguments of the processor. Unknown ones are ignored with a warning.
        """
        if cross_attention_kwargs:
            cross_attention_kwargs = self._known_kwargs(cross_attention_kwargs)
        return self.processor(
            self,
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=attention_mask,
            **cross_attention_kwargs,
        )

    def _known_kwargs(self, kwargs: dict[str, object]) -> dict[str, object]:
        """Return the keyword arguments that the processor's signature names."""
        processor = self.processor
        forward_only = isinstance(processor, nn.Layer) and type(processor).__call__ is nn.Layer.__call__
        known = inspect.signature(processor.forward if forward_only else processor).parameters
        unused = [name for name in kwargs if name not in known and name not in _QUIET_KWARGS]
        if unused:
            logger.warning(
                "cross_attention_kwargs %s are not expected by %s and will be ignored.",
                unused,
                type(processor).__name__,
            )
        return {name: value for name, value in kwargs.items() if name in known}

    # -- processors -------------------------------------------------------------------------------------------------

    def default_processor(self) -> AttentionProcessor:
        """Return a new processor of the kind that this layer uses by default."""
        return AttnProcessor2_0() if self.added_kv_proj_dim is None else AttnAddedKVProcessor2_0()

    def set_processor(self, processor: AttentionProcessor) -> None:
        """Replace the processor. A processor that is an `nn.Layer` becomes a sublayer, with its parameters."""
        if not isinstance(processor, nn.Layer):
            self._sub_layers.pop("processor", None)
        self.processor = processor

    def get_processor(self) -> AttentionProcessor:
        """Return the processor."""
        return self.processor

    def fuse_projections(self, fuse: bool = True) -> None:
        """Concatenate the weights of the projections of one input, and use a processor that multiplies them at once.

        They are buffers that are not saved: files keep the original weights.

        Args:
            fuse: False undoes it.
        """
        self.unfuse_projections()
        if not fuse:
            return
        layers = [self.to_k, self.to_v] if self.is_cross_attention else [self.to_q, self.to_k, self.to_v]
        weight = paddle.concat([layer.weight.detach() for layer in layers], axis=1)  # [C, 2 or 3 * H*D]
        self.register_buffer("fused_weight", weight, persistable=False)
        if layers[0].bias is not None:
            bias = paddle.concat([layer.bias.detach() for layer in layers])
            self.register_buffer("fused_bias", bias, persistable=False)
        self._unfused_processor = self.processor
        self.set_processor(FusedAttnProcessor2_0())

    def unfuse_projections(self) -> None:
        """Remove the concatenated weights, and restore the processor from before `fuse_projections`."""
        if "fused_weight" not in self._buffers:
            return
        for name in ("fused_weight", "fused_bias"):
            self._buffers.pop(name, None)
            self._non_persistable_buffer_names_set.discard(name)
        self.set_processor(self._unfused_processor)
        del self._unfused_processor

    def set_attention_slice(self, slice_size: int | None) -> None:
        """Compute at most `slice_size` heads at a time; None for as many as fit the memory limit.

        Raises:
            InputError: `slice_size` is not between 1 and the number of heads.
        """
        if slice_size is not None and not (isinstance(slice_size, int) and 1 <= slice_size <= self.heads):
            raise InputError(
                f"slice_size is {slice_size!r}.",
                expected=f"'auto', 'max', None, or a number from 1 to {self.heads} (heads)",
            )
        self.slice_size = slice_size

    # -- operations that processors use -----------------------------------------------------------------------------

    def head_to_batch_dim(self, tensor: paddle.Tensor, out_dim: int = 3) -> paddle.Tensor:
        """Split channels into heads: [B, N, H*D] -> [B*H, N, D], or [B, H, N, D] if `out_dim` is 4."""
        if tensor.ndim == 4:
            tensor = tensor.flatten(1, 2)  # [B, N, H*D]
        batch, tokens, width = tensor.shape
        tensor = tensor.reshape([batch, tokens, self.heads, width // self.heads]).transpose([0, 2, 1, 3])
        return tensor if out_dim == 4 else tensor.reshape([batch * self.heads, tokens, width // self.heads])

    def batch_to_head_dim(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """Join the heads: [B*H, N, D] -> [B, N, H*D]."""
        rows, tokens, width = tensor.shape
        tensor = tensor.reshape([rows // self.heads, self.heads, tokens, width]).transpose([0, 2, 1, 3])
        return tensor.reshape([rows // self.heads, tokens, self.heads * width])

    def get_attention_scores(
        self, query: paddle.Tensor, key: paddle.Tensor, attention_mask: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """Compute attention probabilities [B*H, Q, K].

        Args:
            query: [B*H, Q, D].
            key: [B*H, K, D].
            attention_mask: a bias that broadcasts to [B*H, Q, K].
        """
        dtype = query.dtype
        if self.upcast_attention:
            query, key = query.astype("float32"), key.astype("float32")
        scores = paddle.matmul(query * self.scale, key, transpose_y=True)  # [B*H, Q, K]
        if attention_mask is not None:
            scores = scores + attention_mask.astype(scores.dtype)
        if self.upcast_softmax:
            scores = scores.astype("float32")
        return F.softmax(scores, axis=-1).astype(dtype)

    def prepare_attention_mask(
        self, attention_mask: paddle.Tensor | None, target_length: int, batch_size: int, out_dim: int = 3
    ) -> paddle.Tensor | None:
        """Repeat a bias for each head, after appending zeros if its length is not `target_length`.

        Args:
            attention_mask: [B, 1 or Q, K]; None is returned unchanged.
            target_length: number of keys. If the mask has another length, this many zeros are appended, as in
                diffusers: the keys of pixels that follow those of a prompt.
            out_dim: 3 for [B*H, 1 or Q, K], 4 for [B, H, 1 or Q, K].
        """
        if attention_mask is None:
            return None
        if attention_mask.shape[-1] != target_length:
            zeros = paddle.zeros([*attention_mask.shape[:-1], target_length], dtype=attention_mask.dtype)
            attention_mask = paddle.concat([attention_mask, zeros], axis=-1)
        if out_dim == 4:
            return attention_mask.unsqueeze(1).repeat_interleave(self.heads, axis=1)
        if attention_mask.shape[0] < batch_size * self.heads:
            attention_mask = attention_mask.repeat_interleave(self.heads, axis=0)
        return attention_mask

    def norm_encoder_hidden_states(self, encoder_hidden_states: paddle.Tensor) -> paddle.Tensor:  # [B, S, C]
        """Apply `norm_cross`, which must not be None."""
        if isinstance(self.norm_cross, nn.GroupNorm):
            return self.norm_cross(encoder_hidden_states.transpose([0, 2, 1])).transpose([0, 2, 1])
        return self.norm_cross(encoder_hidden_states)


def _cross_norm(kind: str | None, added_kv_proj_dim: int | None, context_dim: int) -> nn.Layer | None:
    """Create the norm of `encoder_hidden_states`."""
    if kind is None:
        return None
    if kind == "layer_norm":
        return nn.LayerNorm(context_dim)
    if kind == "group_norm":  # before the added projections
        return nn.GroupNorm(32, added_kv_proj_dim or context_dim, epsilon=1e-5)
    raise ConfigError(f"Unknown cross_attention_norm {kind!r}.", expected="None, 'layer_norm' or 'group_norm'")
