"""Unconditional UNet (DDPM, arXiv 2006.11239; NCSN++, arXiv 2011.13456)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.embeddings import GaussianFourierProjection, TimestepEmbedding, Timesteps, as_timesteps
from ppdiffusers.models.blocks.factory import (
    check_block_types,
    get_down_block,
    get_mid_block,
    get_up_block,
    known_block_types,
)
from ppdiffusers.models.blocks.settings import BlockSettings
from ppdiffusers.models.blocks.unet_2d_skip_blocks import SkipDownBlock2D, SkipUpBlock2D
from ppdiffusers.models.modeling_outputs import UNet2DOutput
from ppdiffusers.models.modeling_utils import ModelMixin, wrong_lengths
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, make_class_labels, normal, small_size, unet_timestep


class UNet2DModel(ModelMixin):
    """Predict from noisy images and timesteps; configuration and state dict are those of diffusers' class.

    Args:
        time_embedding_type: "positional" (sinusoidal), "fourier" (random features of the noise level) or "learned".
        attention_head_dim: width of an attention head; None for one head over all channels.
        class_embed_type: None for learned embeddings of `num_class_embeds` labels, "timestep" to embed labels like
            timesteps, "identity" for inputs that are embeddings.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | tuple[int, int] | None = None,
        in_channels: int = 3,
        out_channels: int = 3,
        center_input_sample: bool = False,
        time_embedding_type: str = "positional",
        time_embedding_dim: int | None = None,
        freq_shift: int = 0,
        flip_sin_to_cos: bool = True,
        down_block_types: tuple[str, ...] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        mid_block_type: str | None = "UNetMidBlock2D",
        up_block_types: tuple[str, ...] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        block_out_channels: tuple[int, ...] = (224, 448, 672, 896),
        layers_per_block: int = 2,
        mid_block_scale_factor: float = 1,
        downsample_padding: int = 1,
        downsample_type: str = "conv",
        upsample_type: str = "conv",
        dropout: float = 0.0,
        act_fn: str = "silu",
        attention_head_dim: int | None = 8,
        norm_num_groups: int = 32,
        attn_norm_num_groups: int | None = None,
        norm_eps: float = 1e-5,
        resnet_time_scale_shift: str = "default",
        add_attention: bool = True,
        class_embed_type: str | None = None,
        num_class_embeds: int | None = None,
        num_train_timesteps: int | None = None,
    ):
        super().__init__()
        self._check_config()
        first = block_out_channels[0]
        time_embed_dim = time_embedding_dim or first * 4
        settings = BlockSettings(
            temb_channels=time_embed_dim,
            resnet_eps=norm_eps,
            resnet_act_fn=act_fn,
            resnet_groups=norm_num_groups,
            resnet_time_scale_shift=resnet_time_scale_shift,
            dropout=dropout,
            downsample_padding=downsample_padding,
            attention_head_dim=attention_head_dim,
        )
        self.conv_in = Conv2D(in_channels, first, 3, padding=1)
        timestep_input_dim = first
        if time_embedding_type == "fourier":
            self.time_proj = GaussianFourierProjection(embedding_size=first, scale=16)
            timestep_input_dim = 2 * first
        elif time_embedding_type == "positional":
            self.time_proj = Timesteps(first, flip_sin_to_cos, freq_shift)
        else:
            self.time_proj = nn.Embedding(num_train_timesteps, first)
        self.time_embedding = TimestepEmbedding(timestep_input_dim, time_embed_dim)
        self.class_embedding = None
        if class_embed_type is None and num_class_embeds is not None:
            self.class_embedding = nn.Embedding(num_class_embeds, time_embed_dim)
        elif class_embed_type == "timestep":
            self.class_embedding = TimestepEmbedding(timestep_input_dim, time_embed_dim)
        elif class_embed_type == "identity":
            self.class_embedding = nn.Identity()

        widths = [first, *block_out_channels]
        last = len(block_out_channels) - 1
        self.down_blocks = nn.LayerList(
            [
                get_down_block(
                    block_type,
                    settings,
                    num_layers=layers_per_block,
                    in_channels=widths[level],
                    out_channels=widths[level + 1],
                    add_downsample=level != last,
                    downsample_type=downsample_type,
                )
                for level, block_type in enumerate(down_block_types)
            ]
        )
        mid_groups = norm_num_groups or min(widths[-1] // 4, 32)
        if attn_norm_num_groups is None and resnet_time_scale_shift == "default":
            attn_norm_num_groups = mid_groups
        self.mid_block = get_mid_block(
            mid_block_type,
            replace(settings, resnet_out_scale_factor=mid_block_scale_factor, resnet_groups=mid_groups),
            channels=widths[-1],
            attn_groups=attn_norm_num_groups,
            add_attention=add_attention,
        )
        reversed_widths = [*reversed(block_out_channels), first]
        self.up_blocks = nn.LayerList(
            [
                get_up_block(
                    block_type,
                    settings,
                    num_layers=layers_per_block + 1,
                    in_channels=reversed_widths[level + 1],
                    prev_output_channel=reversed_widths[max(level - 1, 0)],
                    out_channels=reversed_widths[level],
                    add_upsample=level != last,
                    upsample_type=upsample_type,
                )
                for level, block_type in enumerate(up_block_types)
            ]
        )
        groups_out = norm_num_groups if norm_num_groups is not None else min(first // 4, 32)
        self.conv_norm_out = nn.GroupNorm(groups_out, first, epsilon=norm_eps)
        self.conv_act = nn.Silu()
        self.conv_out = Conv2D(first, out_channels, 3, padding=1)

    def _check_config(self) -> None:
        config = self.config
        levels = len(config.block_out_channels)
        problems = check_block_types(config.down_block_types, config.up_block_types)
        problems += wrong_lengths(
            levels, down_block_types=config.down_block_types, up_block_types=config.up_block_types
        )
        if config.time_embedding_type not in ("positional", "fourier", "learned"):
            problems.append(f"time_embedding_type is {config.time_embedding_type!r}")
        if config.time_embedding_type == "learned" and config.num_train_timesteps is None:
            problems.append('time_embedding_type="learned" needs num_train_timesteps')
        if config.class_embed_type not in (None, "timestep", "identity"):
            problems.append(f"class_embed_type is {config.class_embed_type!r}")
        if problems:
            raise ConfigError("This UNet2DModel cannot be built.", problems=problems, expected=known_block_types())

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        class_labels: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[paddle.Tensor]:
        """Predict from `sample` [B, in_channels, H, W] at `timestep` (a number, or [B]).

        Args:
            class_labels: [B] integers, or embeddings, for networks with a class embedding.

        Raises:
            InputError: channels, height, width or labels do not fit the network.
        """
        sample = check_channels(sample, self.config.in_channels, type(self).__name__)
        self._check_size(sample)
        if self.config.center_input_sample:
            sample = 2 * sample - 1.0
        timesteps = as_timesteps(timestep, sample.shape[0])
        emb = self._embed(timesteps, class_labels)  # [B, time_embed_dim]

        skip_sample = sample
        sample = self.conv_in(sample)
        skips = (sample,)
        for block in self.down_blocks:
            if isinstance(block, SkipDownBlock2D):
                sample, stages, skip_sample = block(sample, emb, skip_sample)
            else:
                sample, stages = block(sample, emb)
            skips += stages
        if self.mid_block is not None:
            sample = self.mid_block(sample, emb)
        skip_sample = None
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, level_skips = skips[:-count], skips[-count:]
            if isinstance(block, SkipUpBlock2D):
                sample, skip_sample = block(sample, level_skips, emb, skip_sample)
            else:
                sample = block(sample, level_skips, emb)

        sample = self.conv_out(self.conv_act(self.conv_norm_out(sample)))
        if skip_sample is not None:
            sample = sample + skip_sample
        if self.config.time_embedding_type == "fourier":
            # from noise to the score: divide by the noise level
            sample = sample / timesteps.astype(sample.dtype).reshape([-1, 1, 1, 1])
        return UNet2DOutput(sample=sample) if return_dict else (sample,)

    def _check_size(self, sample: paddle.Tensor) -> None:
        """Check that height and width can be halved at each level, so that skip connections fit."""
        halvings = sum(
            getattr(block, "downsamplers", None) is not None or getattr(block, "resnet_down", None) is not None
            for block in self.down_blocks
        )
        if any(size > 0 and size % 2**halvings for size in sample.shape[2:]):  # -1: unknown while tracing
            raise InputError(
                f"UNet2DModel was given a sample of shape {list(sample.shape)}.",
                expected=f"height and width that are multiples of {2**halvings} (downsampling levels: {halvings})",
            )

    def _embed(self, timesteps: paddle.Tensor, class_labels: paddle.Tensor | None) -> paddle.Tensor:
        """Embed timesteps and class labels: [B] -> [B, time_embed_dim]."""
        dtype = self._compute_dtype()
        learned = self.config.time_embedding_type == "learned"
        if not learned:
            timesteps = timesteps.astype("float32")
        emb = self.time_embedding(self.time_proj(timesteps).astype(dtype))
        if self.class_embedding is None:
            if class_labels is not None:
                raise InputError("class_labels are given, but this UNet2DModel has no class embedding.")
            return emb
        if class_labels is None:
            raise InputError("class_labels are missing: this UNet2DModel has a class embedding.")
        if self.config.class_embed_type == "timestep":
            class_labels = self.time_proj(class_labels.astype("float32")).astype(dtype)
        return emb + self.class_embedding(class_labels).astype(dtype)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        size = small_size(config.sample_size, len(config.block_out_channels))
        inputs = {
            "sample": normal(rng, BATCH, config.in_channels, size, size),  # [B, C, H, W]
            "timestep": unet_timestep(config),
        }
        labels = make_class_labels(config, rng)
        return inputs if labels is None else {**inputs, "class_labels": labels}
