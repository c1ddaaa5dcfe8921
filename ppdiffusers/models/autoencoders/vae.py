"""Encoder, decoder and latent distribution of the autoencoders (arXiv 2112.10752, appendix E)."""

from __future__ import annotations

import math

import paddle
from paddle import nn

from ppdiffusers.models.blocks.activations import get_activation
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.factory import get_down_block, get_mid_block, get_up_block
from ppdiffusers.models.blocks.settings import BlockSettings
from ppdiffusers.utils.torch_utils import randn_tensor


def _settings(norm_num_groups: int, act_fn: str, width: int) -> BlockSettings:
    """Settings of autoencoder blocks: no time embedding, one attention head, asymmetric padding in downsampling."""
    return BlockSettings(
        temb_channels=None,
        resnet_eps=1e-6,
        resnet_act_fn=act_fn,
        resnet_groups=norm_num_groups,
        downsample_padding=0,
        attention_head_dim=width,
    )


class Encoder(nn.Layer):
    """Encode images [B, in_channels, H, W] into moments [B, 2 * out_channels, h, w].

    Without `double_z` the result is latents [B, out_channels, h, w].
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",),
        block_out_channels: tuple[int, ...] = (64,),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        act_fn: str = "silu",
        double_z: bool = True,
        mid_block_add_attention: bool = True,
    ):
        super().__init__()
        widths = [block_out_channels[0], *block_out_channels]
        last = len(block_out_channels) - 1
        self.conv_in = Conv2D(in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.LayerList(
            [
                get_down_block(
                    block_type,
                    _settings(norm_num_groups, act_fn, widths[level + 1]),
                    num_layers=layers_per_block,
                    in_channels=widths[level],
                    out_channels=widths[level + 1],
                    add_downsample=level != last,
                )
                for level, block_type in enumerate(down_block_types)
            ]
        )
        self.mid_block = _mid_block(norm_num_groups, act_fn, widths[-1], mid_block_add_attention)
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, widths[-1], epsilon=1e-6)
        self.conv_act = get_activation("silu")
        self.conv_out = Conv2D(widths[-1], 2 * out_channels if double_z else out_channels, 3, padding=1)

    def forward(self, sample: paddle.Tensor) -> paddle.Tensor:
        sample = self.conv_in(sample)
        for block in self.down_blocks:
            sample, _ = block(sample)
        return self.conv_out(self.conv_act(self.conv_norm_out(self.mid_block(sample))))


class Decoder(nn.Layer):
    """Decode latents [B, in_channels, h, w] into images [B, out_channels, H, W]."""

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",),
        block_out_channels: tuple[int, ...] = (64,),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        act_fn: str = "silu",
        mid_block_add_attention: bool = True,
    ):
        super().__init__()
        reversed_widths = list(reversed(block_out_channels))
        widths = [reversed_widths[0], *reversed_widths]
        last = len(block_out_channels) - 1
        self.conv_in = Conv2D(in_channels, widths[0], 3, padding=1)
        self.mid_block = _mid_block(norm_num_groups, act_fn, widths[0], mid_block_add_attention)
        self.up_blocks = nn.LayerList(
            [
                get_up_block(
                    block_type,
                    _settings(norm_num_groups, act_fn, widths[level + 1]),
                    num_layers=layers_per_block + 1,
                    in_channels=widths[level],
                    prev_output_channel=None,
                    out_channels=widths[level + 1],
                    add_upsample=level != last,
                )
                for level, block_type in enumerate(up_block_types)
            ]
        )
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, widths[-1], epsilon=1e-6)
        self.conv_act = get_activation("silu")
        self.conv_out = Conv2D(widths[-1], out_channels, 3, padding=1)

    def forward(self, sample: paddle.Tensor) -> paddle.Tensor:
        sample = self.mid_block(self.conv_in(sample))
        for block in self.up_blocks:
            sample = block(sample)
        return self.conv_out(self.conv_act(self.conv_norm_out(sample)))


def _mid_block(norm_num_groups: int, act_fn: str, width: int, add_attention: bool) -> nn.Layer:
    return get_mid_block(
        "UNetMidBlock2D",
        _settings(norm_num_groups, act_fn, width),
        channels=width,
        attn_groups=norm_num_groups,
        add_attention=add_attention,
    )


class DiagonalGaussianDistribution:
    """Normal distribution with a mean and a variance for each element of the latents.

    Args:
        parameters: [B, 2C, h, w]: means, then log variances, which are clipped to [-30, 20].
        deterministic: use a variance of 0, so that samples equal the mean.
    """

    def __init__(self, parameters: paddle.Tensor, deterministic: bool = False):
        self.parameters, self.deterministic = parameters, deterministic
        self.mean, logvar = parameters.chunk(2, axis=1)
        self.logvar = logvar.clip(-30.0, 20.0)
        if deterministic:
            self.std = self.var = paddle.zeros_like(self.mean)
        else:
            self.std, self.var = paddle.exp(0.5 * self.logvar), paddle.exp(self.logvar)

    def sample(self, generator: object = None) -> paddle.Tensor:
        """Sample latents [B, C, h, w]; `generator` as for `randn_tensor`."""
        noise = randn_tensor(tuple(self.mean.shape), generator=generator, dtype=self.parameters.dtype)
        return self.mean + self.std * noise

    def mode(self) -> paddle.Tensor:
        return self.mean

    def kl(self, other: DiagonalGaussianDistribution | None = None) -> paddle.Tensor:
        """Compute the KL divergence [B] from `other`, by default from the standard normal distribution."""
        if self.deterministic:
            return paddle.to_tensor([0.0])
        if other is None:
            inner = self.mean**2 + self.var - 1.0 - self.logvar
        else:
            inner = (self.mean - other.mean) ** 2 / other.var + self.var / other.var - 1.0 - self.logvar + other.logvar
        return 0.5 * inner.sum(axis=[1, 2, 3])

    def nll(self, sample: paddle.Tensor, dims: tuple[int, ...] = (1, 2, 3)) -> paddle.Tensor:
        """Compute the negative log-likelihood of `sample`, summed over `dims`."""
        if self.deterministic:
            return paddle.to_tensor([0.0])
        inner = math.log(2.0 * math.pi) + self.logvar + (sample - self.mean) ** 2 / self.var
        return 0.5 * inner.sum(axis=list(dims))
