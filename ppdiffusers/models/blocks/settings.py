"""Settings that all blocks of a UNet or autoencoder share, and the layers that they describe."""

from __future__ import annotations

from dataclasses import dataclass

from paddle import nn

from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.blocks.resampling import Downsample2D, Upsample2D
from ppdiffusers.models.blocks.resnet import ResnetBlock2D
from ppdiffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel


@dataclass(frozen=True)
class BlockSettings:
    """Settings of a block other than its channels; field names are those of the configurations."""

    temb_channels: int | None
    resnet_eps: float = 1e-6
    resnet_act_fn: str = "silu"
    resnet_groups: int | None = 32
    resnet_time_scale_shift: str = "default"
    resnet_skip_time_act: bool = False
    resnet_out_scale_factor: float = 1.0
    dropout: float = 0.0
    downsample_padding: int = 1
    attention_head_dim: int | None = None
    num_attention_heads: int = 1
    transformer_layers: int | tuple[int, ...] = 1
    cross_attention_dim: int | None = None
    use_linear_projection: bool = False
    only_cross_attention: bool = False
    upcast_attention: bool = False
    cross_attention_norm: str | None = None
    dual_cross_attention: bool = False

    def resnet(self, in_channels: int, out_channels: int, **changes: object) -> ResnetBlock2D:
        """Create a residual block."""
        settings = {
            "temb_channels": self.temb_channels,
            "dropout": self.dropout,
            "groups": self.resnet_groups,
            "eps": self.resnet_eps,
            "non_linearity": self.resnet_act_fn,
            "time_embedding_norm": self.resnet_time_scale_shift,
            **changes,
        }
        return ResnetBlock2D(in_channels=in_channels, out_channels=out_channels, **settings)

    def simple_resnet(self, in_channels: int, out_channels: int, **changes: object) -> ResnetBlock2D:
        """Create the residual block of IF and of the blocks that resample with residual blocks."""
        return self.resnet(
            in_channels,
            out_channels,
            skip_time_act=self.resnet_skip_time_act,
            output_scale_factor=self.resnet_out_scale_factor,
            **changes,
        )

    def self_attention(self, channels: int, **changes: object) -> Attention:
        """Create self-attention over the pixels of a feature map."""
        head_dim = self.attention_head_dim or channels
        settings = {
            "heads": channels // head_dim,
            "dim_head": head_dim,
            "eps": self.resnet_eps,
            "norm_num_groups": self.resnet_groups,
            "residual_connection": True,
            "bias": True,
            "upcast_softmax": True,
            **changes,
        }
        return Attention(channels, **settings)

    def simple_cross_attention(self, channels: int) -> Attention:
        """Create the attention of IF, over the prompt and the pixels in one softmax."""
        return self.self_attention(
            channels,
            cross_attention_dim=channels,
            added_kv_proj_dim=self.cross_attention_dim,
            eps=1e-5,
            only_cross_attention=self.only_cross_attention,
            cross_attention_norm=self.cross_attention_norm,
        )

    def transformer(self, channels: int, layer: int) -> Transformer2DModel | DualTransformer2DModel:
        """Create the transformer after residual block number `layer`; a pair of them for two conditions."""
        if self.dual_cross_attention:
            return DualTransformer2DModel([self._single_transformer(channels, layer) for _ in range(2)])
        return self._single_transformer(channels, layer)

    def _single_transformer(self, channels: int, layer: int) -> Transformer2DModel:
        layers = self.transformer_layers
        return Transformer2DModel(
            self.num_attention_heads,
            channels // self.num_attention_heads,
            in_channels=channels,
            num_layers=layers if isinstance(layers, int) else layers[layer],
            cross_attention_dim=self.cross_attention_dim,
            norm_num_groups=self.resnet_groups,
            use_linear_projection=self.use_linear_projection,
            only_cross_attention=self.only_cross_attention,
            upcast_attention=self.upcast_attention,
        )

    def downsampler(self, channels: int) -> nn.Layer:
        """Create a convolution that halves height and width."""
        return Downsample2D(channels, True, channels, padding=self.downsample_padding)

    def upsampler(self, channels: int) -> nn.Layer:
        """Create a layer that doubles height and width, with a convolution."""
        return Upsample2D(channels, use_conv=True, out_channels=channels)
