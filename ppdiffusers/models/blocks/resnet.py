"""Residual blocks of UNets and autoencoders."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.blocks.activations import get_activation
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.normalization import AdaGroupNorm
from ppdiffusers.models.blocks.resampling import Downsample2D, Upsample2D, fir_downsample, fir_upsample, repeat_pixels

TIME_SCALE_SHIFTS = ("default", "scale_shift")


class ResnetBlock2D(nn.Layer):
    """Two times GroupNorm, activation and convolution, with the time embedding in between; plus the input.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result; by default `in_channels`.
        temb_channels: channels of the time embedding; None for no time embedding.
        groups: groups of the first norm.
        groups_out: groups of the second norm; by default `groups`.
        skip_time_act: apply no activation to the time embedding.
        time_embedding_norm: "default" adds the projected time embedding; "scale_shift" scales and shifts the
            second norm by it (arXiv 2105.05233, section 3, "adaptive group normalization").
        kernel: how to resample: "fir", "sde_vp" (nearest neighbor, average pooling), or None for the default.
        output_scale_factor: the sum is divided by this number.
        use_in_shortcut: whether a 1x1 convolution projects the input; by default if the channels change.
        up: upsample inside the block, after the first norm.
        down: downsample inside the block, after the first norm.
        conv_size: size of the convolutions' kernels, 3 or 1.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int | None = None,
        temb_channels: int | None = 512,
        dropout: float = 0.0,
        groups: int = 32,
        groups_out: int | None = None,
        eps: float = 1e-6,
        non_linearity: str = "swish",
        skip_time_act: bool = False,
        time_embedding_norm: str = "default",
        kernel: str | None = None,
        output_scale_factor: float = 1.0,
        use_in_shortcut: bool | None = None,
        up: bool = False,
        down: bool = False,
        conv_size: int = 3,
    ):
        super().__init__()
        if time_embedding_norm not in TIME_SCALE_SHIFTS:
            raise ConfigError(
                f"Unknown resnet_time_scale_shift {time_embedding_norm!r}.",
                expected=f"one of {', '.join(TIME_SCALE_SHIFTS)}",
            )
        out_channels = out_channels or in_channels
        self.scale_shift = time_embedding_norm == "scale_shift"
        self.skip_time_act, self.output_scale_factor = skip_time_act, output_scale_factor

        self.norm1 = nn.GroupNorm(groups, in_channels, epsilon=eps)
        self.conv1 = Conv2D(in_channels, out_channels, conv_size, padding=conv_size // 2)
        self.time_emb_proj = None
        if temb_channels is not None:
            self.time_emb_proj = nn.Linear(temb_channels, out_channels * (2 if self.scale_shift else 1))
        self.norm2 = nn.GroupNorm(groups_out or groups, out_channels, epsilon=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Conv2D(out_channels, out_channels, conv_size, padding=conv_size // 2)
        self.nonlinearity = get_activation(non_linearity)
        self.resample = _resampler(in_channels, up, down, kernel)
        self.conv_shortcut = None
        if in_channels != out_channels if use_in_shortcut is None else use_in_shortcut:
            self.conv_shortcut = Conv2D(in_channels, out_channels, 1)

    def forward(self, input_tensor: paddle.Tensor, temb: paddle.Tensor | None = None) -> paddle.Tensor:
        """Transform [B, C, H, W]; `temb` is [B, T]."""
        hidden_states = self.nonlinearity(self.norm1(input_tensor))  # [B, C, H, W]
        if self.resample is not None:
            input_tensor, hidden_states = self.resample(input_tensor), self.resample(hidden_states)
        hidden_states = self.conv1(hidden_states)

        if self.time_emb_proj is not None and temb is not None:
            temb = self.time_emb_proj(temb if self.skip_time_act else self.nonlinearity(temb))
            temb = temb.unsqueeze(-1).unsqueeze(-1)  # [B, C or 2C, 1, 1]
            if self.scale_shift:
                scale, shift = temb.chunk(2, axis=1)
                hidden_states = self.norm2(hidden_states) * (1 + scale) + shift
            else:
                hidden_states = self.norm2(hidden_states + temb)
        else:
            hidden_states = self.norm2(hidden_states)

        hidden_states = self.conv2(self.dropout(self.nonlinearity(hidden_states)))
        if self.conv_shortcut is not None:
            input_tensor = self.conv_shortcut(input_tensor)
        return (input_tensor + hidden_states) / self.output_scale_factor


class ResnetBlockCondNorm2D(nn.Layer):
    """Residual block whose norms are both modulated by the time embedding (k-diffusion).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the first convolution.
        temb_channels: channels of the time embedding.
        groups: groups of the first norm.
        groups_out: groups of the second norm.
        conv_2d_out_channels: channels of the result; by default `out_channels`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int,
        groups_out: int,
        dropout: float = 0.0,
        eps: float = 1e-6,
        non_linearity: str = "swish",
        conv_2d_out_channels: int | None = None,
    ):
        super().__init__()
        result = conv_2d_out_channels or out_channels
        self.norm1 = AdaGroupNorm(temb_channels, in_channels, groups, eps)
        self.conv1 = Conv2D(in_channels, out_channels, 3, padding=1)
        self.norm2 = AdaGroupNorm(temb_channels, out_channels, groups_out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Conv2D(out_channels, result, 3, padding=1)
        self.nonlinearity = get_activation(non_linearity)
        self.conv_shortcut = None if in_channels == result else Conv2D(in_channels, result, 1, bias_attr=False)

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        """Transform x [B, C, H, W]; `temb` is [B, T]."""
        y = self.conv1(self.nonlinearity(self.norm1(x, temb)))
        y = self.conv2(self.dropout(self.nonlinearity(self.norm2(y, temb))))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def _average_pairs(x: paddle.Tensor) -> paddle.Tensor:
    return F.avg_pool2d(x, kernel_size=2, stride=2)  # [B, C, H / 2, W / 2]


def _resampler(
    channels: int, up: bool, down: bool, kernel: str | None
) -> Callable[[paddle.Tensor], paddle.Tensor] | None:
    """Return the resampling of both branches of a block; none of these functions and layers has parameters."""
    if up:
        return {"fir": fir_upsample, "sde_vp": repeat_pixels}.get(kernel) or Upsample2D(channels)
    if down:
        pool = {"fir": fir_downsample, "sde_vp": _average_pairs}
        return pool.get(kernel) or Downsample2D(channels)
    return None
