"""UNet with cross-attention to a prompt (Latent Diffusion, arXiv 2112.10752; Stable Diffusion 1.x, 2.x, XL)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.adapters.attn_procs import UNet2DConditionLoadersMixin
from ppdiffusers.models.adapters.ip_adapter import has_ip_adapters
from ppdiffusers.models.adapters.layers import scaled
from ppdiffusers.models.attention.masks import mask_to_bias
from ppdiffusers.models.blocks.activations import get_activation
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.embeddings import (
    GaussianFourierProjection,
    TimestepEmbedding,
    Timesteps,
)
from ppdiffusers.models.blocks.factory import (
    check_block_types,
    get_down_block,
    get_mid_block,
    get_up_block,
    has_cross_attention,
    known_block_types,
    required_halvings,
)
from ppdiffusers.models.blocks.freeu import FreeU
from ppdiffusers.models.blocks.settings import BlockSettings
from ppdiffusers.models.blocks.unet_2d_k_blocks import check_k_widths
from ppdiffusers.models.modeling_outputs import UNet2DConditionOutput
from ppdiffusers.models.modeling_utils import ModelMixin, per_level, wrong_lengths
from ppdiffusers.models.single_file import FromOriginalModelMixin
from ppdiffusers.models.unets.condition_embeddings import ConditionEmbeddings
from ppdiffusers.models.unets.layerwise import layer_inputs, layer_outputs
from ppdiffusers.utils.deprecation_utils import deprecate
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import (
    BATCH,
    DummyInputs,
    normal,
    prompt_embeddings,
    small_size,
    tensor_fields,
    unet_timestep,
)

# Supported values of configuration keys.
_SUPPORTED = {
    "attention_type": ("default",),
    "addition_embed_type": (None, "text", "text_time"),
    "encoder_hid_dim_type": (None, "text_proj"),
    "class_embed_type": (None, "timestep", "identity", "projection", "simple_projection"),
    "time_embedding_type": ("positional", "fourier"),
}


class UNet2DConditionModel(ConditionEmbeddings, ModelMixin, FromOriginalModelMixin, UNet2DConditionLoadersMixin):
    """Predict from noisy latents, a timestep and a prompt; configuration and state dict are those of diffusers' class.

    Args:
        attention_head_dim: despite its name the *number* of heads, for all levels or per level, unless
            `num_attention_heads` is given.
        only_cross_attention, cross_attention_dim, layers_per_block, transformer_layers_per_block: for all
            levels, or a list with one entry per level. An entry of `transformer_layers_per_block` may be a list, with
            one number per layer.
        reverse_transformer_layers_per_block: `transformer_layers_per_block` of the up blocks, in their order; by
            default those of the down blocks.
        dual_cross_attention: attend to two conditions (Versatile Diffusion), which are concatenated in
            `encoder_hidden_states`.
    """

    single_file_component = "unet"

    # overridden by the network of the same architecture over vectors
    _settings_class = BlockSettings
    # diffusers saves the IP-Adapters of a UNet with it, and does not load them either
    ignore_unexpected = (r"^encoder_hid_proj\.image_projection_layers\.", r"\.processor\.to_[kv]_ip\.")

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | tuple[int, int] | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        center_input_sample: bool = False,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        mid_block_type: str | None = "UNetMidBlock2DCrossAttn",
        up_block_types: tuple[str, ...] = (
            "UpBlock2D",
            "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D",
        ),
        only_cross_attention: bool | tuple[bool, ...] = False,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int | tuple[int, ...] = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        dropout: float = 0.0,
        act_fn: str = "silu",
        norm_num_groups: int | None = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int | tuple[int, ...] = 1280,
        transformer_layers_per_block: int | tuple = 1,
        reverse_transformer_layers_per_block: tuple | None = None,
        encoder_hid_dim: int | None = None,
        encoder_hid_dim_type: str | None = None,
        attention_head_dim: int | tuple[int, ...] = 8,
        num_attention_heads: int | tuple[int, ...] | None = None,
        dual_cross_attention: bool = False,
        use_linear_projection: bool = False,
        class_embed_type: str | None = None,
        addition_embed_type: str | None = None,
        addition_time_embed_dim: int | None = None,
        num_class_embeds: int | None = None,
        upcast_attention: bool = False,
        resnet_time_scale_shift: str = "default",
        resnet_skip_time_act: bool = False,
        resnet_out_scale_factor: float = 1.0,
        time_embedding_type: str = "positional",
        time_embedding_dim: int | None = None,
        time_embedding_act_fn: str | None = None,
        timestep_post_act: str | None = None,
        time_cond_proj_dim: int | None = None,
        conv_in_kernel: int = 3,
        conv_out_kernel: int = 3,
        projection_class_embeddings_input_dim: int | None = None,
        attention_type: str = "default",
        class_embeddings_concat: bool = False,
        mid_block_only_cross_attention: bool | None = None,
        cross_attention_norm: str | None = None,
        addition_embed_type_num_heads: int = 64,
    ):
        super().__init__()
        self._check_config()
        down_block_types, up_block_types = map(self._block_names, (down_block_types, up_block_types))
        (mid_block_type,) = self._block_names([mid_block_type])
        levels = len(block_out_channels)
        first = block_out_channels[0]
        fourier = time_embedding_type == "fourier"
        time_embed_dim = self._time_embed_dim()
        raw_time_dim = time_embed_dim if fourier else first
        if encoder_hid_dim is not None and encoder_hid_dim_type is None:
            self.register_to_config(encoder_hid_dim_type="text_proj")

        self.conv_in = self._outer_layer(in_channels, first, conv_in_kernel)
        if fourier:
            self.time_proj = GaussianFourierProjection(
                raw_time_dim // 2, set_W_to_weight=False, log=False, flip_sin_to_cos=flip_sin_to_cos
            )
        else:
            self.time_proj = Timesteps(raw_time_dim, flip_sin_to_cos, freq_shift)
        self.time_embedding = TimestepEmbedding(
            raw_time_dim, time_embed_dim, act_fn=act_fn, post_act_fn=timestep_post_act, cond_proj_dim=time_cond_proj_dim
        )
        self.encoder_hid_proj = self.text_encoder_hid_proj = None
        if encoder_hid_dim is not None:
            self.encoder_hid_proj = nn.Linear(encoder_hid_dim, per_level(cross_attention_dim, 1)[0])
        self._build_condition_embeddings(raw_time_dim, time_embed_dim, act_fn)
        self.time_embed_act = None if time_embedding_act_fn is None else get_activation(time_embedding_act_fn)

        heads = per_level(num_attention_heads or attention_head_dim, levels)
        head_dims = per_level(attention_head_dim, levels)
        context_dims = per_level(cross_attention_dim, levels)
        only_cross = per_level(only_cross_attention, levels)
        layers = per_level(layers_per_block, levels)
        transformer_layers = per_level(transformer_layers_per_block, levels)
        up_transformer_layers = reverse_transformer_layers_per_block or transformer_layers[::-1]
        if mid_block_only_cross_attention is None:
            mid_block_only_cross_attention = only_cross_attention if isinstance(only_cross_attention, bool) else False

        # class_embeddings_concat: the class embedding is appended to the time embedding
        shared = self._settings_class(
            temb_channels=time_embed_dim * 2 if class_embeddings_concat else time_embed_dim,
            resnet_eps=norm_eps,
            resnet_act_fn=act_fn,
            resnet_groups=norm_num_groups,
            resnet_time_scale_shift=resnet_time_scale_shift,
            resnet_skip_time_act=resnet_skip_time_act,
            resnet_out_scale_factor=resnet_out_scale_factor,
            dropout=dropout,
            downsample_padding=downsample_padding,
            use_linear_projection=use_linear_projection,
            upcast_attention=upcast_attention,
            cross_attention_norm=cross_attention_norm,
            dual_cross_attention=dual_cross_attention,
        )
        settings = [
            replace(
                shared,
                attention_head_dim=head_dims[level],
                num_attention_heads=heads[level],
                transformer_layers=transformer_layers[level],
                cross_attention_dim=context_dims[level],
                only_cross_attention=only_cross[level],
            )
            for level in range(levels)
        ]
        widths = [first, *block_out_channels]
        self.down_blocks = nn.LayerList(
            [
                get_down_block(
                    block_type,
                    settings[level],
                    num_layers=layers[level],
                    in_channels=widths[level],
                    out_channels=widths[level + 1],
                    add_downsample=level != levels - 1,
                )
                for level, block_type in enumerate(down_block_types)
            ]
        )
        middle = replace(
            settings[-1],
            resnet_out_scale_factor=mid_block_scale_factor,
            only_cross_attention=mid_block_only_cross_attention,
        )
        self.mid_block = get_mid_block(
            mid_block_type,
            middle,
            channels=widths[-1],
            num_layers=0 if mid_block_type == "UNetMidBlock2D" else 1,
            add_attention=False,
        )
        reversed_widths = [*reversed(block_out_channels), first]
        self.up_blocks = nn.LayerList(
            [
                get_up_block(
                    block_type,
                    replace(
                        settings[levels - 1 - level],
                        transformer_layers=up_transformer_layers[level],
                        attention_head_dim=head_dims[level],  # not reversed, as in diffusers
                    ),
                    num_layers=layers[levels - 1 - level] + 1,
                    in_channels=reversed_widths[level + 1],
                    prev_output_channel=reversed_widths[max(level - 1, 0)],
                    out_channels=reversed_widths[level],
                    add_upsample=level != levels - 1,
                )
                for level, block_type in enumerate(up_block_types)
            ]
        )
        self.conv_norm_out = None
        if norm_num_groups is not None:
            self.conv_norm_out = nn.GroupNorm(norm_num_groups, first, epsilon=norm_eps)
            self.conv_act = get_activation(act_fn)
        self.conv_out = self._outer_layer(first, out_channels, conv_out_kernel)
        self._size_divisor = 2 ** required_halvings(down_block_types)
        self._has_cross_attention = any(map(has_cross_attention, (*down_block_types, *up_block_types)))

    # -- building -----------------------------------------------------------------------------------------------

    @staticmethod
    def _block_names(names: Sequence[str | None]) -> list[str | None]:
        """Convert the block names of the configuration to those of `blocks.factory`."""
        return list(names)

    def _outer_layer(self, in_channels: int, out_channels: int, kernel: int) -> nn.Layer:
        """Create the first or the last layer."""
        return Conv2D(in_channels, out_channels, kernel, padding=(kernel - 1) // 2)

    def _check_config(self) -> None:
        config = self.config
        levels = len(config.block_out_channels)
        problems = self._wrong_blocks()
        per_level_keys = (
            "down_block_types",
            "up_block_types",
            "only_cross_attention",
            "num_attention_heads",
            "attention_head_dim",
            "cross_attention_dim",
            "layers_per_block",
            "transformer_layers_per_block",
            "reverse_transformer_layers_per_block",
        )
        problems += wrong_lengths(levels, **{key: config[key] for key in per_level_keys})
        nested = config.transformer_layers_per_block
        nested = isinstance(nested, (list, tuple)) and any(isinstance(layers, (list, tuple)) for layers in nested)
        if nested and config.reverse_transformer_layers_per_block is None:
            problems.append(
                "transformer_layers_per_block differs within a level, which requires "
                "reverse_transformer_layers_per_block for the up blocks"
            )
        problems += [
            f"{key} = {config[key]!r} (supported: {', '.join(map(repr, values))})"
            for key, values in _SUPPORTED.items()
            if config[key] not in values
        ]
        problems += self._missing_settings()
        if not problems:
            problems = check_k_widths(config.up_block_types, config.block_out_channels, self._time_embed_dim())
        if problems:
            name = type(self).__name__
            raise ConfigError(f"This {name} cannot be built.", problems=problems, expected=self._known_blocks())

    def _wrong_blocks(self) -> list[str]:
        return check_block_types(self.config.down_block_types, self.config.up_block_types)

    _known_blocks = staticmethod(known_block_types)

    def _time_embed_dim(self) -> int:
        factor = 2 if self.config.time_embedding_type == "fourier" else 4
        return self.config.time_embedding_dim or self.config.block_out_channels[0] * factor

    # -- running ------------------------------------------------------------------------------------------------

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        encoder_hidden_states: paddle.Tensor,
        class_labels: paddle.Tensor | None = None,
        timestep_cond: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None = None,
        down_block_additional_residuals: tuple[paddle.Tensor, ...] | None = None,
        mid_block_additional_residual: paddle.Tensor | None = None,
        down_intrablock_additional_residuals: tuple[paddle.Tensor, ...] | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[paddle.Tensor]:
        """Predict from `sample` [B, in_channels, H, W] at `timestep` (a number, or [B]) and a prompt.

        Args:
            encoder_hidden_states: [B, S, D], the embeddings of the prompt.
            class_labels: [B], or embeddings, for networks with a class embedding.
            timestep_cond: [B, time_cond_proj_dim], such as the embedding of the guidance scale (LCM).
            attention_mask: [B, H*W] of 1 (keep) and 0 (discard), or a bias [B, 1, H*W].
            cross_attention_kwargs: keyword arguments of the attention processors. `scale` is the scale of the adapters
                (LoRA) in this call. With `dual_cross_attention`, `mix_ratio` and `condition_lengths` of
                `DualTransformer2DModel`.
            added_cond_kwargs: "text_embeds" and "time_ids" for `addition_embed_type="text_time"`; with IP-Adapters
                "image_embeds", for each of them [B, N, E] or [B, N, S, E].
            down_block_additional_residuals: added to the skip connections (ControlNet).
            mid_block_additional_residual: added to the output of the middle block (ControlNet).
            down_intrablock_additional_residuals: added inside the down blocks (T2I-Adapter): before the downsampler of
                a block with cross-attention, otherwise to its result. One that is left is added to the result of the
                middle block, if it has the same shape.
            encoder_attention_mask: [B, S] of 1 and 0, or a bias [B, 1, S].

        Raises:
            InputError: an input is missing or does not fit the network.
        """
        kwargs = dict(cross_attention_kwargs or {})
        scale = kwargs.pop("scale", None)
        self._check_inputs(sample, encoder_hidden_states, class_labels, added_cond_kwargs, kwargs)
        sample, encoder_hidden_states = computable(sample), computable(encoder_hidden_states)
        class_labels, timestep_cond = computable(class_labels), computable(timestep_cond)
        added_cond_kwargs = computable(added_cond_kwargs)
        emb = self._embed(sample, timestep, encoder_hidden_states, class_labels, timestep_cond, added_cond_kwargs)
        if self.config.center_input_sample:
            sample = 2 * sample - 1.0
        encoder_hidden_states = self._project_conditions(encoder_hidden_states, added_cond_kwargs)
        inputs = {
            "encoder_hidden_states": encoder_hidden_states,
            "attention_mask": mask_to_bias(attention_mask, sample.dtype),
            "encoder_attention_mask": mask_to_bias(encoder_attention_mask, sample.dtype),
            "cross_attention_kwargs": kwargs,
        }
        down_block_additional_residuals = computable(down_block_additional_residuals)
        mid_block_additional_residual = computable(mid_block_additional_residual)
        intrablock = computable(down_intrablock_additional_residuals)
        only_down = down_block_additional_residuals is not None and mid_block_additional_residual is None
        if only_down and intrablock is None:
            deprecate(
                "T2I should not use down_block_additional_residuals",
                "1.3.0",
                "`down_block_additional_residuals` without `mid_block_additional_residual` are residuals of a "
                "T2I-Adapter. This is deprecated: pass them as `down_intrablock_additional_residuals`.",
                standard_warn=False,
            )
            intrablock, down_block_additional_residuals = down_block_additional_residuals, None
        with contextlib.nullcontext() if scale is None else scaled(self, scale):
            sample = self._denoise(
                sample,
                emb,
                inputs,
                down_block_additional_residuals,
                mid_block_additional_residual,
                list(intrablock or ()),
            )
        return UNet2DConditionOutput(sample=sample) if return_dict else (sample,)

    def _project_conditions(
        self, prompt: paddle.Tensor, added_cond_kwargs: dict[str, Any] | None
    ) -> paddle.Tensor | tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Project the prompt [B, S, E] to [B, S, D]; with IP-Adapters, return it with the image tokens of each."""
        if not has_ip_adapters(self):
            return prompt if self.encoder_hid_proj is None else self.encoder_hid_proj(prompt)
        if self.text_encoder_hid_proj is not None:
            prompt = self.text_encoder_hid_proj(prompt)
        return prompt, self.encoder_hid_proj(added_cond_kwargs["image_embeds"])

    def _denoise(
        self,
        sample: paddle.Tensor,
        emb: paddle.Tensor,
        inputs: dict[str, Any],
        down_residuals: tuple[paddle.Tensor, ...] | None,
        mid_residual: paddle.Tensor | None,
        intrablock: list[paddle.Tensor],
    ) -> paddle.Tensor:
        """Run all layers; `emb` is [B, time_embed_dim], and `inputs` are those of the attention layers."""
        sample = self.conv_in(sample)  # [B, first, H, W]
        skips = (sample,)
        for block in self.down_blocks:
            extra = {"additional_residuals": intrablock.pop(0)} if intrablock else {}
            sample, stages = block(hidden_states=sample, temb=emb, **inputs, **extra)
            skips += stages
        if down_residuals is not None:
            if len(down_residuals) != len(skips):
                raise InputError(
                    f"{type(self).__name__} was given {len(down_residuals)} down_block_additional_residuals.",
                    expected=f"{len(skips)}, one for each skip connection",
                )
            skips = tuple(skip + residual for skip, residual in zip(skips, down_residuals))

        if self.mid_block is not None:
            sample = self.mid_block(sample, emb, **inputs)
            if intrablock and sample.shape == intrablock[0].shape:
                sample = sample + intrablock.pop(0)
        if mid_residual is not None:
            sample = sample + mid_residual

        for n, block in enumerate(self.up_blocks):
            count = len(block.resnets)
            skips, level_skips = skips[:-count], skips[-count:]
            # the next skip connection has the right size where an odd size was halved
            size = tuple(skips[-1].shape[2:]) if n < len(self.up_blocks) - 1 else None
            sample = block(
                hidden_states=sample, res_hidden_states_tuple=level_skips, temb=emb, upsample_size=size, **inputs
            )

        if self.conv_norm_out is not None:
            sample = self.conv_act(self.conv_norm_out(sample))
        return self.conv_out(sample)

    def _check_inputs(
        self,
        sample: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None,
        class_labels: paddle.Tensor | None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None,
        cross_attention_kwargs: dict[str, object],
    ) -> None:
        self._check_sample(sample)
        problems = []
        divisor = self._size_divisor
        if divisor > 1 and any(size % divisor or size < 2 * divisor for size in sample.shape[2:]):
            problems.append(
                f"height and width of the sample are {list(sample.shape[2:])}, not multiples of {divisor} that are at "
                f"least {2 * divisor}"
            )
        if encoder_hidden_states is None and self._has_cross_attention:
            problems.append("encoder_hidden_states is None, but the network has cross-attention")
        problems += self._missing_conditions(class_labels, added_cond_kwargs)
        if has_ip_adapters(self) and "image_embeds" not in (added_cond_kwargs or {}):
            problems.append(
                "added_cond_kwargs['image_embeds'] is missing, but the network has IP-Adapters: pass "
                "`ip_adapter_image` to the pipeline, or call its `unload_ip_adapter`"
            )
        if cross_attention_kwargs.get("gligen") is not None:
            problems.append("cross_attention_kwargs['gligen'] is given, but the network has no GLIGEN layers")
        if problems:
            raise InputError(f"The inputs do not fit this {type(self).__name__}.", problems=problems)

    def _check_sample(self, sample: paddle.Tensor) -> None:
        check_channels(sample, self.config.in_channels, type(self).__name__)

    # -- FreeU --------------------------------------------------------------------------------------------------

    def enable_freeu(self, s1: float, s2: float, b1: float, b2: float) -> None:
        """Reweight the inputs of the first two up blocks (FreeU, arXiv 2309.11497); 0 anywhere disables it.

        Args:
            s1, s2: factors of the low frequencies of the skip connections, in the first and second up block.
            b1, b2: factors of half of the channels of the features there.
        """
        self.disable_freeu()
        factors = [(b1, s1), (b2, s2)] if all((s1, s2, b1, b2)) else []
        for block, kind, (backbone, skip) in zip(self.up_blocks, self.config.up_block_types, factors, strict=False):
            if kind.removeprefix("UNetRes") in ("UpBlock2D", "CrossAttnUpBlock2D"):  # as in diffusers
                block.freeu = FreeU(backbone, skip)

    def disable_freeu(self) -> None:
        """Compute without FreeU."""
        for block in self.up_blocks:
            block.freeu = None

    # -- verification -------------------------------------------------------------------------------------------

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        if config.dual_cross_attention:
            return layer_inputs(self, rng)
        size = small_size(config.sample_size, len(config.block_out_channels))
        inputs: DummyInputs = {
            "sample": normal(rng, BATCH, config.in_channels, size, size),  # [B, C, H, W]
            "timestep": unet_timestep(config),
            "encoder_hidden_states": prompt_embeddings(config.encoder_hid_dim or config.cross_attention_dim, rng),
        }
        if config.time_cond_proj_dim:
            inputs["timestep_cond"] = normal(rng, BATCH, config.time_cond_proj_dim)
        return {**inputs, **self._dummy_conditions(rng)}

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        return tensor_fields(network(**inputs)) if "sample" in inputs else layer_outputs(network, inputs)
