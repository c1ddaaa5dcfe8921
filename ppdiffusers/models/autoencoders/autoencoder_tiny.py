"""Tiny autoencoder (TAESD, https://github.com/madebyollin/taesd): a distilled VAE of 2.4 million parameters.

Its latents are those of the VAE from which it was distilled (Stable Diffusion 1, XL, 3 or FLUX), normalized for the
diffusion model. It decodes in a fraction of the VAE's time, for previews and for calls of few steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.autoencoders.latent_space import LatentSpaceMixin
from ppdiffusers.models.autoencoders.slicing import SlicingMixin, TensorFunction
from ppdiffusers.models.blocks.activations import get_activation
from ppdiffusers.models.blocks.checkpointing import CheckpointedBlock
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.resampling import repeat_pixels
from ppdiffusers.models.modeling_outputs import AutoencoderTinyOutput, DecoderOutput
from ppdiffusers.models.modeling_utils import ModelMixin, wrong_lengths
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

UPSAMPLE_MODES = ("nearest", "nearest-exact", "bilinear", "bicubic")


class AutoencoderTiny(LatentSpaceMixin, SlicingMixin, ModelMixin):
    """Encode images [B, in_channels, H, W] into latents [B, latent_channels, H / 8, W / 8], and decode them.

    Args:
        encoder_block_out_channels, decoder_block_out_channels: width of each level. A level has one width: the next
            one changes only the resolution.
        act_fn: activation of the blocks.
        upsample_fn: interpolation of the decoder: "nearest", "nearest-exact", "bilinear" or "bicubic".
        latent_channels: 4 for Stable Diffusion 1, 2 and XL, 16 for Stable Diffusion 3 and FLUX.
        upsampling_scaling_factor: factor between two levels of the decoder.
        num_encoder_blocks, num_decoder_blocks: number of residual blocks of each level.
        latent_magnitude, latent_shift: range of the latents in 8-bit images; see `scale_latents`.
        force_upcast: always saved as False, since the network does not overflow in half precision.
        scaling_factor, shift_factor: normalization for the diffusion model; the distilled latents need none.
    """

    # The methods that `runtime.compile` compiles; tiles and slices run the compiled program too.
    compiled_methods = ("_encode_tile", "_decode_tile")

    _supports_gradient_checkpointing = True
    encodes_distribution = False
    ignored_config_keys = (*ModelMixin.ignored_config_keys, "block_out_channels")  # `__init__` derives it

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        encoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64),
        decoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64),
        act_fn: str = "relu",
        upsample_fn: str = "nearest",
        latent_channels: int = 4,
        upsampling_scaling_factor: int = 2,
        num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3),
        num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1),
        latent_magnitude: float = 3,
        latent_shift: float = 0.5,
        force_upcast: bool = False,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ):
        super().__init__()
        problems = wrong_lengths(len(num_encoder_blocks), encoder_block_out_channels=encoder_block_out_channels)
        problems += wrong_lengths(len(num_decoder_blocks), decoder_block_out_channels=decoder_block_out_channels)
        if upsample_fn not in UPSAMPLE_MODES:
            problems.append(f"upsample_fn={upsample_fn!r} is not one of {', '.join(UPSAMPLE_MODES)}")
        if problems:
            raise ConfigError("This AutoencoderTiny cannot be built.", problems=problems)
        self.encoder = EncoderTiny(in_channels, latent_channels, num_encoder_blocks, encoder_block_out_channels, act_fn)
        self.decoder = DecoderTiny(
            *(latent_channels, out_channels, num_decoder_blocks, decoder_block_out_channels),
            *(upsampling_scaling_factor, act_fn, upsample_fn),
        )
        self.latent_magnitude, self.latent_shift, self.scaling_factor = latent_magnitude, latent_shift, scaling_factor
        self.spatial_scale_factor = 2**out_channels  # as in diffusers; 8 for RGB images
        self.tile_overlap_factor = 0.125
        self.tile_sample_min_size = 512
        self.tile_latent_min_size = self.tile_sample_min_size // self.spatial_scale_factor
        # pipelines read the scale of the latents from `block_out_channels`
        self.register_to_config(block_out_channels=decoder_block_out_channels, force_upcast=False)

    # -- latents as 8-bit images --------------------------------------------------------------------------------

    def scale_latents(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map latents [B, C, h, w] to [0, 1], for storing them as an image."""
        return (x / (2 * self.latent_magnitude) + self.latent_shift).clip(0, 1)

    def unscale_latents(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map an image [B, C, h, w] with values in [0, 1] to latents: the inverse of `scale_latents`."""
        return (x - self.latent_shift) * (2 * self.latent_magnitude)

    # -- encoding and decoding ----------------------------------------------------------------------------------

    def encode(self, x: paddle.Tensor, return_dict: bool = True) -> AutoencoderTinyOutput | tuple:
        """Encode images [B, in_channels, H, W] with values in [-1, 1] into latents [B, latent_channels, h, w]."""
        x = check_channels(x, self.config.in_channels, type(self).__name__)
        latents = self._in_slices(self._encode, x)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(self, x: paddle.Tensor, generator: object = None, return_dict: bool = True) -> DecoderOutput | tuple:
        """Decode latents [B, latent_channels, h, w] into images [B, out_channels, H, W], about in [-1, 1].

        `generator` has no effect; diffusers has the argument too.
        """
        x = check_channels(x, self.config.latent_channels, type(self).__name__)
        sample = self._in_slices(self._decode, x)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, sample: paddle.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """Encode and decode through latents that are rounded to 8 bits, as if they were stored in an image."""
        levels = (self.scale_latents(self.encode(sample).latents) * 255).round()  # [B, C, h, w], 0 to 255
        return self.decode(self.unscale_latents(levels / 255), return_dict=return_dict)

    def _encode(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.use_tiling:
            return self._encode_tile(x)
        scale = self.spatial_scale_factor
        return self._tiled(self._encode_tile, x, self.tile_sample_min_size, lambda length: -(-length // scale))

    def _decode(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.use_tiling:
            return self._decode_tile(x)
        scale = self.spatial_scale_factor
        return self._tiled(self._decode_tile, x, self.tile_latent_min_size, lambda length: length * scale)

    def _encode_tile(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.encoder(x)

    def _decode_tile(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.decoder(x)

    def _tiled(self, function: TensorFunction, x: paddle.Tensor, tile: int, scaled: Any) -> paddle.Tensor:
        """Run `function` on overlapping square tiles of `tile` pixels and blend each into the results before it.

        `scaled` converts a length of the input to one of the output.
        """
        overlap = int(tile * self.tile_overlap_factor)
        height, width = x.shape[2:]
        ramp = _ramp(scaled(tile), scaled(tile) * overlap / tile)
        result = None
        for top in range(0, height, tile - overlap):
            for left in range(0, width, tile - overlap):
                part = function(x[:, :, top : top + tile, left : left + tile])
                if result is None:
                    result = paddle.zeros([*part.shape[:2], scaled(height), scaled(width)], dtype=part.dtype)
                rows = slice(scaled(top), scaled(top) + part.shape[2])
                columns = slice(scaled(left), scaled(left) + part.shape[3])
                weight = paddle.ones(part.shape[2:], dtype=part.dtype)  # [h, w]
                if top:
                    weight *= ramp[: part.shape[2]].astype(part.dtype).unsqueeze(1)
                if left:
                    weight *= ramp[: part.shape[3]].astype(part.dtype)
                result[:, :, rows, columns] = weight * part + (1 - weight) * result[:, :, rows, columns]
        return result

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        size = 2 ** (len(self.config.encoder_block_out_channels) + 1)
        return {
            "image": normal(rng, BATCH, self.config.in_channels, size, size),  # [B, C, H, W]
            "latents": normal(rng, BATCH, self.config.latent_channels, 4, 4),  # [B, latent C, h, w]
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        return {
            "latents": network.encode(inputs["image"]).latents,
            "decoded": network.decode(inputs["latents"]).sample,
        }


class TinyBlock(nn.Layer):
    """Residual block of three 3x3 convolutions without normalization: [B, C, H, W] -> [B, O, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, act_fn: str):
        super().__init__()
        self.conv = nn.Sequential(
            Conv2D(in_channels, out_channels, 3, padding=1),
            get_activation(act_fn),
            Conv2D(out_channels, out_channels, 3, padding=1),
            get_activation(act_fn),
            Conv2D(out_channels, out_channels, 3, padding=1),
        )
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else Conv2D(in_channels, out_channels, 1, bias_attr=False)
        self.fuse = nn.ReLU()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.fuse(self.conv(x) + self.skip(x))


class EncoderTiny(CheckpointedBlock):
    """Encode images [B, in_channels, H, W] in [-1, 1]; each level but the first halves the resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: tuple[int, ...],
        block_out_channels: tuple[int, ...],
        act_fn: str,
    ):
        super().__init__()
        self.layers = nn.Sequential(*self._levels(in_channels, num_blocks, block_out_channels, act_fn))
        self.layers.append(Conv2D(block_out_channels[-1], out_channels, 3, padding=1))

    @staticmethod
    def _levels(in_channels: int, num_blocks: tuple[int, ...], widths: tuple[int, ...], act_fn: str) -> Iterator:
        for level, (blocks, width) in enumerate(zip(num_blocks, widths)):
            if level == 0:
                yield Conv2D(in_channels, width, 3, padding=1)
            else:
                yield Conv2D(width, width, 3, stride=2, padding=1, bias_attr=False)
            for _ in range(blocks):
                yield TinyBlock(width, width, act_fn)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self._run(self.layers, (x + 1) / 2)  # TAESD was trained on images in [0, 1]


class DecoderTiny(CheckpointedBlock):
    """Decode latents [B, in_channels, h, w] into images in [-1, 1]; each level but the last doubles the resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: tuple[int, ...],
        block_out_channels: tuple[int, ...],
        upsampling_scaling_factor: int,
        act_fn: str,
        upsample_fn: str,
    ):
        super().__init__()
        layers = [Conv2D(in_channels, block_out_channels[0], 3, padding=1), get_activation(act_fn)]
        last = len(num_blocks) - 1
        for level, (blocks, width) in enumerate(zip(num_blocks, block_out_channels)):
            layers += [TinyBlock(width, width, act_fn) for _ in range(blocks)]
            if level < last:
                layers.append(Upsample(upsampling_scaling_factor, upsample_fn))
                layers.append(Conv2D(width, width, 3, padding=1, bias_attr=False))
            else:
                layers.append(Conv2D(width, out_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = paddle.tanh(x / 3) * 3  # latents of a diffusion model are rarely beyond 3
        return self._run(self.layers, x) * 2 - 1


class Upsample(nn.Layer):
    """Upsample images [B, C, H, W] by an integer factor."""

    def __init__(self, factor: int, mode: str):
        super().__init__()
        self.factor, self.mode = factor, mode

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.mode.startswith("nearest"):
            return repeat_pixels(x, self.factor)
        size = [self.factor * length for length in x.shape[2:]]
        return F.interpolate(x, size=size, mode=self.mode, align_corners=False)


def _ramp(length: int, overlap: float) -> paddle.Tensor:  # [length]
    """Weights of a tile along one axis: from 0 to 1 over the overlap, then 1."""
    ramp = np.arange(length, dtype=np.float32) / np.float32(max(overlap - 1, 1e-6))
    return paddle.to_tensor(np.clip(ramp, 0, 1))
