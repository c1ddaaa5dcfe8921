"""Image projections of IP-Adapters: from the output of an image encoder to tokens for cross-attention.

Ye et al., "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion Models", arXiv 2308.06721.
"""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.blocks.transformer import FeedForward
from ppdiffusers.runtime.state import StatefulLayer, traced_state
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


class ImageProjection(nn.Layer):
    """Projection of the pooled image embedding to several tokens (IP-Adapter)."""

    def __init__(self, image_embed_dim: int = 768, cross_attention_dim: int = 768, num_image_text_embeds: int = 32):
        super().__init__()
        self.num_image_text_embeds = num_image_text_embeds
        self.image_embeds = nn.Linear(image_embed_dim, num_image_text_embeds * cross_attention_dim)
        self.norm = nn.LayerNorm(cross_attention_dim)

    def forward(self, image_embeds: paddle.Tensor) -> paddle.Tensor:  # [N, E] -> [N, T, D]
        tokens = self.image_embeds(image_embeds.astype(self.image_embeds.weight.dtype))
        return self.norm(tokens.reshape([image_embeds.shape[0], self.num_image_text_embeds, -1]))


class IPAdapterFullImageProjection(nn.Layer):
    """Feed-forward network over all tokens of the image encoder (IP-Adapter full-face)."""

    def __init__(self, image_embed_dim: int = 1024, cross_attention_dim: int = 1024):
        super().__init__()
        self.ff = FeedForward(image_embed_dim, cross_attention_dim, mult=1, activation_fn="gelu")
        self.norm = nn.LayerNorm(cross_attention_dim)

    def forward(self, image_embeds: paddle.Tensor) -> paddle.Tensor:  # [N, S, E] -> [N, S, D]
        return self.norm(self.ff(image_embeds))


class IPAdapterFaceIDImageProjection(nn.Layer):
    """Feed-forward network from the embedding of a face to several tokens (IP-Adapter FaceID)."""

    def __init__(
        self, image_embed_dim: int = 1024, cross_attention_dim: int = 1024, mult: int = 1, num_tokens: int = 1
    ):
        super().__init__()
        self.num_tokens, self.cross_attention_dim = num_tokens, cross_attention_dim
        self.ff = FeedForward(image_embed_dim, cross_attention_dim * num_tokens, mult=mult, activation_fn="gelu")
        self.norm = nn.LayerNorm(cross_attention_dim)

    def forward(self, image_embeds: paddle.Tensor) -> paddle.Tensor:  # [N, E] or [N, 1, E] -> [N, T, D]
        return self.norm(self.ff(image_embeds).reshape([-1, self.num_tokens, self.cross_attention_dim]))


class IPAdapterPlusImageProjectionBlock(nn.Layer):
    """Attention of latents over image features and themselves, and a feed-forward network."""

    def __init__(self, embed_dims: int = 768, dim_head: int = 64, heads: int = 16, ffn_ratio: int = 4):
        super().__init__()
        self.ln0 = nn.LayerNorm(embed_dims)
        self.ln1 = nn.LayerNorm(embed_dims)
        self.attn = Attention(embed_dims, dim_head=dim_head, heads=heads, out_bias=False)
        feed_forward = FeedForward(embed_dims, embed_dims, mult=ffn_ratio, activation_fn="gelu", bias=False)
        self.ff = nn.Sequential(nn.LayerNorm(embed_dims), feed_forward)

    def forward(self, x: paddle.Tensor, latents: paddle.Tensor, residual: paddle.Tensor) -> paddle.Tensor:
        """Transform latents [N, Q, D] that attend to features [N, S, D]."""
        latents = self.ln1(latents)
        context = paddle.concat([self.ln0(x), latents], axis=1)  # [N, S + Q, D]
        latents = self.attn(latents, context) + residual
        return self.ff(latents) + latents


def _blocks(depth: int, embed_dims: int, dim_head: int, heads: int, ffn_ratio: int) -> nn.LayerList:
    return nn.LayerList(
        [IPAdapterPlusImageProjectionBlock(embed_dims, dim_head, heads, ffn_ratio) for _ in range(depth)]
    )


class IPAdapterPlusImageProjection(nn.Layer):
    """Resampler: learned queries that attend to all tokens of the image encoder (IP-Adapter Plus).

    Args:
        embed_dims: channels of the image encoder.
        output_dims: channels of the tokens.
        hidden_dims: channels of the queries.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        output_dims: int = 1024,
        hidden_dims: int = 1280,
        depth: int = 4,
        dim_head: int = 64,
        heads: int = 16,
        num_queries: int = 8,
        ffn_ratio: int = 4,
    ):
        super().__init__()
        initializer = nn.initializer.Normal(std=hidden_dims**-0.5)
        self.latents = self.create_parameter([1, num_queries, hidden_dims], default_initializer=initializer)
        self.proj_in = nn.Linear(embed_dims, hidden_dims)
        self.proj_out = nn.Linear(hidden_dims, output_dims)
        self.norm_out = nn.LayerNorm(output_dims)
        self.layers = _blocks(depth, hidden_dims, dim_head, heads, ffn_ratio)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [N, S, E] -> [N, Q, D]
        latents = self.latents.tile([x.shape[0], 1, 1])
        x = self.proj_in(x)
        for block in self.layers:
            latents = block(x, latents, latents)
        return self.norm_out(self.proj_out(latents))


class IPAdapterFaceIDPlusImageProjection(StatefulLayer, nn.Layer):
    """Resampler whose queries are projected from the embedding of a face (IP-Adapter FaceID Plus).

    Args:
        embed_dims: channels of the queries.
        output_dims: channels of the tokens.
        hidden_dims: channels of the image encoder.
        id_embeddings_dim: channels of the embedding of a face.

    Attributes:
        clip_embeds: hidden states of the image encoder for the same faces, [B, N, S, hidden_dims]; set it before a
            call. With guidance, B includes the unconditional ones.
        shortcut: add the queries to the result (version 2 of the adapter).
        shortcut_scale: factor of the resampler's output then.
    """

    state_attributes = ("clip_embeds",)

    def __init__(
        self,
        embed_dims: int = 768,
        output_dims: int = 768,
        hidden_dims: int = 1280,
        id_embeddings_dim: int = 512,
        depth: int = 4,
        dim_head: int = 64,
        heads: int = 16,
        num_tokens: int = 4,
        num_queries: int = 8,
        ffn_ratio: int = 4,
        ffproj_ratio: int = 2,
    ):
        super().__init__()
        self.num_tokens, self.embed_dim = num_tokens, embed_dims
        self.clip_embeds: paddle.Tensor | None = None
        self.shortcut, self.shortcut_scale = False, 1.0
        self.proj = FeedForward(id_embeddings_dim, embed_dims * num_tokens, mult=ffproj_ratio, activation_fn="gelu")
        self.norm = nn.LayerNorm(embed_dims)
        self.proj_in = nn.Linear(hidden_dims, embed_dims)
        self.proj_out = nn.Linear(embed_dims, output_dims)
        self.norm_out = nn.LayerNorm(output_dims)
        self.layers = _blocks(depth, embed_dims, dim_head, heads, ffn_ratio)

    def program_state(self) -> tuple[paddle.Tensor, ...]:
        return () if self.clip_embeds is None else (self.clip_embeds,)

    def forward(self, id_embeds: paddle.Tensor) -> paddle.Tensor:  # [N, E] or [N, 1, E] -> [N, T, D]
        """Project the embeddings of faces.

        Raises:
            InputError: `clip_embeds` is not set.
        """
        if self.clip_embeds is None:
            raise InputError(
                "IP-Adapter FaceID Plus also requires the output of the image encoder.",
                remedy="set `unet.encoder_hid_proj.image_projection_layers[n].clip_embeds`, [B, N, S, C], to a result "
                "of `prepare_ip_adapter_image_embeds` for the same faces.",
            )
        (clip_embeds,) = traced_state(self) or (self.clip_embeds,)
        queries = self.proj(id_embeds.astype(clip_embeds.dtype)).reshape([-1, self.num_tokens, self.embed_dim])
        latents = queries = self.norm(queries)  # [N, T, C]
        x = self.proj_in(clip_embeds).flatten(0, 1)  # [N, S, C]
        for block in self.layers:
            latents = block(x, latents, latents)
        output = self.norm_out(self.proj_out(latents))
        return queries + self.shortcut_scale * output if self.shortcut else output


class MultiIPAdapterImageProjection(nn.Layer):
    """The image projections of all IP-Adapters of a UNet: its `encoder_hid_proj`."""

    def __init__(self, IPAdapterImageProjectionLayers: list[nn.Layer] | tuple[nn.Layer, ...]):
        super().__init__()
        self.image_projection_layers = nn.LayerList(list(IPAdapterImageProjectionLayers))

    @property
    def num_ip_adapters(self) -> int:
        """Number of IP-Adapters."""
        return len(self.image_projection_layers)

    def forward(self, image_embeds: list[paddle.Tensor]) -> list[paddle.Tensor]:
        """Project image embeddings to tokens.

        Args:
            image_embeds: for each adapter [B, N, E] or [B, N, S, E], N images for each prompt.

        Returns:
            For each adapter [B, N, T, D].

        Raises:
            InputError: the list has not one tensor for each adapter.
        """
        if not isinstance(image_embeds, list):
            logger.warning("`image_embeds` is a tensor, which is deprecated: pass a list with one for each IP-Adapter.")
            image_embeds = [image_embeds.unsqueeze(1)]
        if len(image_embeds) != self.num_ip_adapters:
            raise InputError(
                f"There are image embeddings for {len(image_embeds)} IP-Adapters.",
                expected=f"one tensor for each of the {self.num_ip_adapters} that are loaded",
            )
        return [_project(layer, embeds) for layer, embeds in zip(self.image_projection_layers, image_embeds)]


def _project(layer: nn.Layer, embeds: paddle.Tensor) -> paddle.Tensor:
    batch, images = embeds.shape[:2]
    tokens = layer(embeds.flatten(0, 1))  # [B * N, T, D]
    return tokens.reshape([batch, images, *tokens.shape[1:]])
