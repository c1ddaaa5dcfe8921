"""The blocks that UNets and autoencoders are built of, by the names that configurations use.

All down blocks are one class and all up blocks are another: residual blocks, each followed by an attention where
there is one, then a resampler. What differs from name to name is which parts they hold; that is the two tables
`_DOWN` and `_UP`. The blocks of NCSN++ ("Skip") carry a second, small picture along and stand by themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import paddle
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.blocks.checkpointed import Checkpointed
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.resnet import ResnetBlock2D
from ppdiffusers.models.blocks.sampling import Downsample2D, Upsample2D, fir_downsample, fir_upsample
from ppdiffusers.models.blocks.unet_2d_k_blocks import KDownBlock2D, KUpBlock2D
from ppdiffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel
from ppdiffusers.utils.dtypes import check_computable


@dataclass(frozen=True)
class BlockSettings:
    """What a block is made with beside its channels; field names as in the configurations."""

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
        """A residual block with these settings."""
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
        """The residual block of IF and of the resampling-resnet blocks."""
        return self.resnet(
            in_channels,
            out_channels,
            skip_time_act=self.resnet_skip_time_act,
            output_scale_factor=self.resnet_out_scale_factor,
            **changes,
        )

    def self_attention(self, channels: int, **changes: object) -> Attention:
        """Attention over a picture's own pixels."""
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

    def downsampler(self, channels: int) -> nn.Layer:
        """Halving by a convolution."""
        return Downsample2D(channels, True, channels, padding=self.downsample_padding)

    def upsampler(self, channels: int) -> nn.Layer:
        """Doubling, then a convolution."""
        return Upsample2D(channels, use_conv=True, out_channels=channels)

    def transformer(self, channels: int, layer: int) -> Transformer2DModel | DualTransformer2DModel:
        """Attention over pixels and text, or over pixels and two conditions."""
        if self.dual_cross_attention:
            return DualTransformer2DModel([self._transformer(channels, layer) for _ in range(2)])
        return self._transformer(channels, layer)

    def _transformer(self, channels: int, layer: int) -> Transformer2DModel:
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

    def simple_cross_attention(self, channels: int) -> Attention:
        """One attention over text and pixels together (IF)."""
        return self.self_attention(
            channels,
            cross_attention_dim=channels,
            added_kv_proj_dim=self.cross_attention_dim,
            eps=1e-5,
            only_cross_attention=self.only_cross_attention,
            cross_attention_norm=self.cross_attention_norm,
        )


def _attend(attention: nn.Layer, hidden_states: paddle.Tensor, context: dict) -> paddle.Tensor:
    """Transformers read the whole context, simple cross attention the text, self attention nothing of it."""
    if isinstance(attention, (Transformer2DModel, DualTransformer2DModel)):
        return attention(hidden_states, **context, return_dict=False)[0]
    if attention.added_kv:
        mask = context.get("encoder_attention_mask")
        return attention(hidden_states, context.get("encoder_hidden_states"), _mask_for_all_keys(mask, hidden_states))
    return attention(hidden_states)


def _mask_for_all_keys(mask: paddle.Tensor | None, hidden_states: paddle.Tensor) -> paddle.Tensor | None:
    """A mask over the text, extended by zeros over the pixels whose keys stand behind it."""
    if mask is None:
        return None
    pixels = hidden_states.shape[2] * hidden_states.shape[3]
    return paddle.concat([mask, paddle.zeros([*mask.shape[:2], pixels], dtype=mask.dtype)], axis=-1)


class DownBlock(Checkpointed):
    """Residual blocks, attentions, a downsampler. Returns the result and every stage for the skip connections."""

    def __init__(self, resnets: list, attentions: list | None = None, downsampler: nn.Layer | None = None):
        super().__init__()
        if attentions is not None:
            self.attentions = nn.LayerList(attentions)
        self.resnets = nn.LayerList(resnets)
        self.has_attention = attentions is not None
        self.downsamplers = None if downsampler is None else nn.LayerList([downsampler])

    def forward(
        self,
        hidden_states: paddle.Tensor,
        temb: paddle.Tensor | None = None,
        context: dict | None = None,
        residual: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, tuple[paddle.Tensor, ...]]:
        """`residual` is a T2I adapter's: added before the downsampler where there is attention, else at the end."""
        stages = []
        for n, resnet in enumerate(self.resnets):
            hidden_states = self._run(resnet, hidden_states, temb)
            if self.has_attention:
                hidden_states = self._run(_attend, self.attentions[n], hidden_states, context or {})
            stages.append(hidden_states)
        if residual is not None and self.has_attention:
            hidden_states = stages[-1] = hidden_states + residual
        for downsampler in self.downsamplers or ():
            hidden_states = _resample(downsampler, hidden_states, temb)
            stages.append(hidden_states)
        if residual is not None and not self.has_attention:
            hidden_states = stages[-1] = hidden_states + residual
        return hidden_states, tuple(stages)


class UpBlock(Checkpointed):
    """The same going up: each residual block reads one skip connection beside its input, if there are any."""

    def __init__(self, resnets: list, attentions: list | None = None, upsampler: nn.Layer | None = None):
        super().__init__()
        if attentions is not None:
            self.attentions = nn.LayerList(attentions)
        self.resnets = nn.LayerList(resnets)
        self.has_attention = attentions is not None
        self.upsamplers = None if upsampler is None else nn.LayerList([upsampler])

    def forward(
        self,
        hidden_states: paddle.Tensor,
        skips: tuple[paddle.Tensor, ...] | None = None,
        temb: paddle.Tensor | None = None,
        upsample_size: tuple[int, int] | None = None,
        context: dict | None = None,
    ) -> paddle.Tensor:
        for n, resnet in enumerate(self.resnets):
            if skips is not None:
                hidden_states = paddle.concat([hidden_states, skips[-1 - n]], axis=1)
            hidden_states = self._run(resnet, hidden_states, temb)
            if self.has_attention:
                hidden_states = self._run(_attend, self.attentions[n], hidden_states, context or {})
        for upsampler in self.upsamplers or ():
            hidden_states = _resample(upsampler, hidden_states, temb, upsample_size)
        return hidden_states


def _resample(
    layer: nn.Layer, x: paddle.Tensor, temb: paddle.Tensor | None, size: tuple[int, int] | None = None
) -> paddle.Tensor:
    if isinstance(layer, ResnetBlock2D):
        return layer(x, temb)
    return layer(x) if size is None else layer(x, size)


class MidBlock(Checkpointed):
    """A residual block, then pairs of attention and residual block."""

    def __init__(self, resnets: list, attentions: list):
        super().__init__()
        self.attentions = nn.LayerList(attentions)
        self.resnets = nn.LayerList(resnets)

    def forward(
        self, hidden_states: paddle.Tensor, temb: paddle.Tensor | None = None, context: dict | None = None
    ) -> paddle.Tensor:
        hidden_states = self._run(self.resnets[0], hidden_states, temb)
        for n, resnet in enumerate(list(self.resnets)[1:]):
            if len(self.attentions):
                hidden_states = self._run(_attend, self.attentions[n], hidden_states, context or {})
            hidden_states = self._run(resnet, hidden_states, temb)
        return hidden_states


# -- NCSN++ (score SDE, arXiv 2011.13456): a small picture runs beside the features ------------------------------

_SKIP_FACTOR = math.sqrt(2.0)


def _skip_groups(channels: int) -> int:
    return min(channels // 4, 32)


class SkipDownBlock2D(Checkpointed):
    """Features go down by residual blocks; the picture [B, 3, H, W] goes down by FIR and is added through 1x1."""

    def __init__(
        self, settings: BlockSettings, in_channels: int, out_channels: int, layers: int, resample: bool, attend: bool
    ):
        super().__init__()

        def resnet(channels: int, **changes: object) -> ResnetBlock2D:
            groups, groups_out = _skip_groups(channels), _skip_groups(out_channels)
            changes = {"groups": groups, "groups_out": groups_out, "output_scale_factor": _SKIP_FACTOR, **changes}
            return settings.resnet(channels, out_channels, **changes)

        self.has_attention = attend
        if attend:
            attention = {"norm_num_groups": 32, "rescale_output_factor": _SKIP_FACTOR}
            self.attentions = nn.LayerList([settings.self_attention(out_channels, **attention) for _ in range(layers)])
        self.resnets = nn.LayerList([resnet(in_channels if n == 0 else out_channels) for n in range(layers)])
        self.resnet_down = None
        if resample:
            self.resnet_down = resnet(out_channels, use_in_shortcut=True, down=True, kernel="fir")
            self.skip_conv = Conv2D(3, out_channels, 1)

    def forward(
        self, hidden_states: paddle.Tensor, temb: paddle.Tensor, skip_sample: paddle.Tensor
    ) -> tuple[paddle.Tensor, tuple[paddle.Tensor, ...], paddle.Tensor]:
        stages = ()
        for n, resnet in enumerate(self.resnets):
            hidden_states = self._run(resnet, hidden_states, temb)
            if self.has_attention:
                hidden_states = self._run(self.attentions[n], hidden_states)
            stages += (hidden_states,)
        if self.resnet_down is not None:
            hidden_states = self.resnet_down(hidden_states, temb)
            skip_sample = fir_downsample(skip_sample)
            hidden_states = self.skip_conv(skip_sample) + hidden_states
            stages += (hidden_states,)
        return hidden_states, stages, skip_sample


class SkipUpBlock2D(Checkpointed):
    """Features go up by residual blocks and give the picture [B, 3, H, W] what a 3x3 convolution makes of them."""

    def __init__(
        self,
        settings: BlockSettings,
        in_channels: int,
        prev_output_channel: int,
        out_channels: int,
        layers: int,
        resample: bool,
        attend: bool,
    ):
        super().__init__()
        groups_out = _skip_groups(out_channels)

        def resnet(channels: int, skip: int) -> ResnetBlock2D:
            # with attention, published networks count min(a + b // 4, 32) groups, not min((a + b) // 4, 32)
            groups = min(channels + skip // 4, 32) if attend else _skip_groups(channels + skip)
            return settings.resnet(
                channels + skip, out_channels, groups=groups, groups_out=groups_out, output_scale_factor=_SKIP_FACTOR
            )

        skips = _skip_channels(in_channels, prev_output_channel, out_channels, layers)
        self.has_attention = attend
        if attend:
            attention = {"norm_num_groups": 32, "rescale_output_factor": _SKIP_FACTOR}
            self.attentions = nn.LayerList([settings.self_attention(out_channels, **attention)])
        self.resnets = nn.LayerList([resnet(*channels) for channels in skips])
        self.resnet_up = None
        if resample:
            self.resnet_up = settings.resnet(
                out_channels,
                out_channels,
                groups=groups_out,
                groups_out=groups_out,
                output_scale_factor=_SKIP_FACTOR,
                use_in_shortcut=True,
                up=True,
                kernel="fir",
            )
            self.skip_conv = Conv2D(out_channels, 3, 3, padding=1)
            self.skip_norm = nn.GroupNorm(groups_out, out_channels, epsilon=settings.resnet_eps)
            self.act = nn.Silu()

    def forward(
        self,
        hidden_states: paddle.Tensor,
        skips: tuple[paddle.Tensor, ...],
        temb: paddle.Tensor,
        skip_sample: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        for n, resnet in enumerate(self.resnets):
            hidden_states = self._run(resnet, paddle.concat([hidden_states, skips[-1 - n]], axis=1), temb)
        if self.has_attention:
            hidden_states = self._run(self.attentions[0], hidden_states)
        if skip_sample is not None:
            skip_sample = fir_upsample(skip_sample)
        if self.resnet_up is not None:
            drawn = self.skip_conv(self.act(self.skip_norm(hidden_states)))
            skip_sample = drawn if skip_sample is None else skip_sample + drawn
            hidden_states = self.resnet_up(hidden_states, temb)
        return hidden_states, skip_sample


def _skip_channels(in_channels: int, prev_output_channel: int, out_channels: int, layers: int) -> list[tuple[int, int]]:
    """(channels from below, channels of the skip connection) of each residual block of an up block."""
    below = [prev_output_channel] + [out_channels] * (layers - 1)
    skips = [out_channels] * (layers - 1) + [in_channels]
    return list(zip(below, skips))


# -- tables: name -> parts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """Which parts a block of some name is made of."""

    attention: str | None = None  # a method of BlockSettings
    resnet: str = "resnet"
    resample: str = "conv"  # "conv", "resnet", or "asked": as downsample_type / upsample_type says
    autoencoder: bool = False  # no time embedding; going up, no skip connections
    skip: bool = False  # NCSN++
    k: bool = False  # k-diffusion


_DOWN = {
    "DownBlock2D": _Kind(),
    "AttnDownBlock2D": _Kind("self_attention", resample="asked"),
    "CrossAttnDownBlock2D": _Kind("transformer"),
    "ResnetDownsampleBlock2D": _Kind(resnet="simple_resnet", resample="resnet"),
    "SimpleCrossAttnDownBlock2D": _Kind("simple_cross_attention", resnet="simple_resnet", resample="resnet"),
    "DownEncoderBlock2D": _Kind(autoencoder=True),
    "AttnDownEncoderBlock2D": _Kind("self_attention", autoencoder=True),
    "SkipDownBlock2D": _Kind(skip=True),
    "AttnSkipDownBlock2D": _Kind("self_attention", skip=True),
    "KDownBlock2D": _Kind(k=True),
    "KCrossAttnDownBlock2D": _Kind("transformer", k=True),
}
_UP = {
    "UpBlock2D": _Kind(),
    "AttnUpBlock2D": _Kind("self_attention", resample="asked"),
    "CrossAttnUpBlock2D": _Kind("transformer"),
    "ResnetUpsampleBlock2D": _Kind(resnet="simple_resnet", resample="resnet"),
    "SimpleCrossAttnUpBlock2D": _Kind("simple_cross_attention", resnet="simple_resnet", resample="resnet"),
    "UpDecoderBlock2D": _Kind(autoencoder=True),
    "AttnUpDecoderBlock2D": _Kind("self_attention", autoencoder=True),
    "SkipUpBlock2D": _Kind(skip=True),
    "AttnSkipUpBlock2D": _Kind("self_attention", skip=True),
    "KUpBlock2D": _Kind(k=True),
    "KCrossAttnUpBlock2D": _Kind("transformer", k=True),
}


def known_block(block_type: str, table: dict[str, _Kind]) -> _Kind:
    """The entry of a table; old configurations write "UNetRes" in front of the names."""
    name = block_type.removeprefix("UNetRes")
    if name not in table:
        raise ConfigError(f"Unknown block type {block_type!r}.", expected=f"one of {', '.join(table)}")
    return table[name]


def check_block_types(down: tuple[str, ...], up: tuple[str, ...]) -> list[str]:
    """A sentence for each unknown name."""
    problems = [f"unknown down block {n!r}" for n in down if n.removeprefix("UNetRes") not in _DOWN]
    return problems + [f"unknown up block {n!r}" for n in up if n.removeprefix("UNetRes") not in _UP]


def block_uses_text(block_type: str) -> bool:
    """Whether a down or up block of this name attends to text."""
    kind = {**_DOWN, **_UP}[block_type.removeprefix("UNetRes")]
    return kind.attention in ("transformer", "simple_cross_attention")


def halvings(down_block_types: tuple[str, ...]) -> int:
    """How often a picture's sides must be even: going up, the blocks of k-diffusion only double."""
    return len(down_block_types) - 1 if any(_DOWN[n.removeprefix("UNetRes")].k for n in down_block_types) else 0


def known_block_types() -> str:
    return f"down blocks: {', '.join(_DOWN)}; up blocks: {', '.join(_UP)}"


def get_down_block(
    block_type: str,
    settings: BlockSettings,
    *,
    num_layers: int,
    in_channels: int,
    out_channels: int,
    add_downsample: bool,
    downsample_type: str | None = "conv",
) -> nn.Layer:
    """The down block that a configuration calls `block_type`."""
    kind = known_block(block_type, _DOWN)
    if kind.skip:
        return SkipDownBlock2D(
            settings, in_channels, out_channels, num_layers, add_downsample, kind.attention is not None
        )
    if kind.k:
        attend = kind.attention is not None
        return KDownBlock2D(settings, in_channels, out_channels, num_layers, add_downsample, attend)
    resnet = getattr(settings, kind.resnet)
    resnets = [resnet(in_channels if n == 0 else out_channels, out_channels) for n in range(num_layers)]
    downsampler = None
    if add_downsample and downsample_type is not None:
        resample = downsample_type if kind.resample == "asked" else kind.resample
        if resample == "resnet":
            downsampler = resnet(out_channels, out_channels, down=True)
        else:
            downsampler = settings.downsampler(out_channels)
    return DownBlock(resnets, _attentions(settings, kind, out_channels, num_layers), downsampler)


def get_up_block(
    block_type: str,
    settings: BlockSettings,
    *,
    num_layers: int,
    in_channels: int,
    prev_output_channel: int | None,
    out_channels: int,
    add_upsample: bool,
    upsample_type: str | None = "conv",
) -> nn.Layer:
    """The up block that a configuration calls `block_type`; `in_channels` are those of the last skip connection."""
    kind = known_block(block_type, _UP)
    if kind.skip:
        return SkipUpBlock2D(
            settings,
            in_channels,
            prev_output_channel,
            out_channels,
            num_layers,
            add_upsample,
            kind.attention is not None,
        )
    if kind.k:
        attend = kind.attention is not None
        return KUpBlock2D(settings, in_channels, out_channels, num_layers, add_upsample, attend)
    resnet = getattr(settings, kind.resnet)
    if kind.autoencoder:
        inputs = [in_channels if n == 0 else out_channels for n in range(num_layers)]
    else:
        inputs = [sum(c) for c in _skip_channels(in_channels, prev_output_channel, out_channels, num_layers)]
    upsampler = None
    if add_upsample and upsample_type is not None:
        resample = upsample_type if kind.resample == "asked" else kind.resample
        if resample == "resnet":
            upsampler = resnet(out_channels, out_channels, up=True)
        else:
            upsampler = settings.upsampler(out_channels)
    resnets = [resnet(channels, out_channels) for channels in inputs]
    return UpBlock(resnets, _attentions(settings, kind, out_channels, num_layers), upsampler)


def _attentions(settings: BlockSettings, kind: _Kind, channels: int, layers: int) -> list[nn.Layer] | None:
    if kind.attention is None:
        return None
    make = getattr(settings, kind.attention)
    if kind.attention == "transformer":
        return [make(channels, layer) for layer in range(layers)]
    return [make(channels) for _ in range(layers)]


def get_mid_block(
    block_type: str | None,
    settings: BlockSettings,
    *,
    channels: int,
    num_layers: int = 1,
    attn_groups: int | None = None,
    add_attention: bool = True,
) -> MidBlock | None:
    """The middle block that a configuration calls `block_type`, or None."""
    if block_type is None:
        return None
    scale = {"output_scale_factor": settings.resnet_out_scale_factor}
    if block_type == "UNetMidBlock2DCrossAttn":
        resnet, attentions = settings.resnet, [settings.transformer(channels, n) for n in range(num_layers)]
    elif block_type == "UNetMidBlock2DSimpleCrossAttn":
        scale = {}  # simple_resnet sets it itself
        resnet = settings.simple_resnet
        attentions = [settings.simple_cross_attention(channels) for _ in range(num_layers)]
    elif block_type == "UNetMidBlock2D":
        factor = {"rescale_output_factor": settings.resnet_out_scale_factor, "norm_num_groups": attn_groups}
        resnet, attentions = settings.resnet, []
        if add_attention:
            attentions = [settings.self_attention(channels, **factor) for _ in range(num_layers)]
    else:
        names = ("UNetMidBlock2D", "UNetMidBlock2DCrossAttn", "UNetMidBlock2DSimpleCrossAttn")
        raise ConfigError(f"Unknown mid_block_type {block_type!r}.", expected=f"None or one of {', '.join(names)}")
    return MidBlock([resnet(channels, channels, **scale) for _ in range(num_layers + 1)], attentions)


def check_channels(sample: paddle.Tensor, in_channels: int, model: str) -> None:
    """The input is [B, in_channels, H, W], of a dtype that can be computed with where it lies.

    Raises:
        InputError: it is not.
    """
    if sample.ndim != 4 or sample.shape[1] != in_channels:
        raise InputError(
            f"{model} was given a sample of shape {list(sample.shape)}.",
            expected=f"[batch, {in_channels}, height, width]",
        )
    check_computable(sample, model)
