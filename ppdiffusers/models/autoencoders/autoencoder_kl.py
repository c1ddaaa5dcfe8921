"""Variational autoencoder with a KL loss (Latent Diffusion, arXiv 2112.10752): images to latents and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.autoencoders.latent_space import LatentSpaceMixin
from ppdiffusers.models.autoencoders.slicing import SlicingMixin, TensorFunction
from ppdiffusers.models.autoencoders.vae import Decoder, DiagonalGaussianDistribution, Encoder
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.factory import check_block_types, known_block_types
from ppdiffusers.models.modeling_outputs import AutoencoderKLOutput, DecoderOutput
from ppdiffusers.models.modeling_utils import ModelMixin, wrong_lengths
from ppdiffusers.models.single_file import FromOriginalModelMixin
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal


class AutoencoderKL(LatentSpaceMixin, SlicingMixin, ModelMixin, FromOriginalModelMixin):
    """Encode images [B, in_channels, H, W] into a Gaussian over latents, and decode latents into images.

    Args:
        scaling_factor, shift_factor, latents_mean, latents_std: normalization of the latents, applied by
            `normalize_latents` and `denormalize_latents` (`LatentSpaceMixin`).
        force_upcast: whether pipelines decode in float32 when the network is in half precision.
    """

    single_file_component = "vae"

    # The methods that `runtime.compile` compiles; tiles and slices run the compiled program too.
    compiled_methods = ("_encode_tile", "_decode_tile")

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",),
        up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",),
        block_out_channels: tuple[int, ...] = (64,),
        layers_per_block: int = 1,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        sample_size: int = 32,
        scaling_factor: float = 0.18215,
        shift_factor: float | None = None,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
        force_upcast: bool = True,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
        mid_block_add_attention: bool = True,
    ):
        super().__init__()
        levels = len(block_out_channels)
        problems = check_block_types(down_block_types, up_block_types)
        problems += wrong_lengths(levels, down_block_types=down_block_types, up_block_types=up_block_types)
        if problems:
            raise ConfigError("This AutoencoderKL cannot be built.", problems=problems, expected=known_block_types())
        shared = {
            "block_out_channels": block_out_channels,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
            "act_fn": act_fn,
            "mid_block_add_attention": mid_block_add_attention,
        }
        self.encoder = Encoder(in_channels, latent_channels, down_block_types, **shared)
        self.decoder = Decoder(latent_channels, out_channels, up_block_types, **shared)
        self.quant_conv = Conv2D(2 * latent_channels, 2 * latent_channels, 1) if use_quant_conv else None
        self.post_quant_conv = Conv2D(latent_channels, latent_channels, 1) if use_post_quant_conv else None
        size = sample_size[0] if isinstance(sample_size, (list, tuple)) else sample_size
        self.tile_sample_min_size = size
        self.tile_latent_min_size = int(size / 2 ** (levels - 1))
        self.tile_overlap_factor = 0.25

    # -- encoding and decoding ----------------------------------------------------------------------------------

    def encode(self, x: paddle.Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple:
        """Encode images [B, in_channels, H, W] with values in [-1, 1] into a distribution over latents."""
        x = check_channels(x, self.config.in_channels, type(self).__name__)
        posterior = DiagonalGaussianDistribution(self._in_slices(self._encode, x))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: paddle.Tensor, return_dict: bool = True, generator: object = None) -> DecoderOutput | tuple:
        """Decode latents [B, latent_channels, h, w], after `denormalize_latents`, into images [B, out_channels, H, W].

        `generator` has no effect; diffusers has the argument too.
        """
        z = check_channels(z, self.config.latent_channels, type(self).__name__)
        sample = self._in_slices(self._decode, z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(
        self,
        sample: paddle.Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: object = None,
    ) -> DecoderOutput | tuple:
        """Encode and decode, from sampled latents or from the mode of their distribution."""
        posterior = self.encode(sample).latent_dist
        z = posterior.sample(generator=generator) if sample_posterior else posterior.mode()
        return self.decode(z, return_dict=return_dict)

    def _encode(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.use_tiling and max(x.shape[2:]) > self.tile_sample_min_size:
            return self._tiled(self._encode_tile, x, self.tile_sample_min_size, self.tile_latent_min_size)
        return self._encode_tile(x)

    def _decode(self, z: paddle.Tensor) -> paddle.Tensor:
        if self.use_tiling and max(z.shape[2:]) > self.tile_latent_min_size:
            return self._tiled(self._decode_tile, z, self.tile_latent_min_size, self.tile_sample_min_size)
        return self._decode_tile(z)

    def _encode_tile(self, x: paddle.Tensor) -> paddle.Tensor:
        moments = self.encoder(x)
        return moments if self.quant_conv is None else self.quant_conv(moments)

    def _decode_tile(self, z: paddle.Tensor) -> paddle.Tensor:
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))

    def _tiled(self, function: TensorFunction, x: paddle.Tensor, tile_in: int, tile_out: int) -> paddle.Tensor:
        """Run `function` on overlapping square tiles of `tile_in` pixels; its results have `tile_out` pixels."""
        step = int(tile_in * (1 - self.tile_overlap_factor))
        extent = int(tile_out * self.tile_overlap_factor)
        keep = tile_out - extent
        height, width = x.shape[2:]
        rows = [
            [function(x[:, :, top : top + tile_in, left : left + tile_in]) for left in range(0, width, step)]
            for top in range(0, height, step)
        ]
        blended_rows = []
        for i, row in enumerate(rows):
            for j in range(len(row)):
                if i > 0:
                    row[j] = _blend(rows[i - 1][j], row[j], extent, axis=2)
                if j > 0:
                    row[j] = _blend(row[j - 1], row[j], extent, axis=3)
            blended_rows.append(paddle.concat([tile[:, :, :keep, :keep] for tile in row], axis=3))
        return paddle.concat(blended_rows, axis=2)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        size = 2 ** (len(self.config.block_out_channels) + 1)
        return {
            "image": normal(rng, BATCH, self.config.in_channels, size, size),  # [B, C, H, W]
            "latents": normal(rng, BATCH, self.config.latent_channels, 4, 4),  # [B, latent C, h, w]
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        posterior = network.encode(inputs["image"]).latent_dist
        decoded = network.decode(inputs["latents"]).sample
        return {"mean": posterior.mean, "logvar": posterior.logvar, "decoded": decoded}


def _blend(before: paddle.Tensor, after: paddle.Tensor, extent: int, axis: int) -> paddle.Tensor:
    """Blend the last `extent` positions of `before` along `axis` linearly into the first ones of `after`."""
    extent = min(before.shape[axis], after.shape[axis], extent)
    if extent == 0:
        return after
    shape = [1, 1, 1, 1]
    shape[axis] = extent
    weight = (paddle.arange(extent, dtype="float32") / extent).astype(after.dtype).reshape(shape)
    length = after.shape[axis]
    head, tail = paddle.split(after, [extent, length - extent], axis=axis) if length > extent else (after, None)
    end = paddle.slice(before, [axis], [before.shape[axis] - extent], [before.shape[axis]])
    head = end * (1 - weight) + head * weight
    return head if tail is None else paddle.concat([head, tail], axis=axis)
