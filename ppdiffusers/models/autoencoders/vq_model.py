"""Vector-quantized autoencoder (VQGAN, arXiv 2012.09841), used by LDM (arXiv 2112.10752) and VQ-Diffusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.autoencoders.latent_space import LatentSpaceMixin
from ppdiffusers.models.autoencoders.vae import Decoder, Encoder
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.factory import check_block_types, known_block_types
from ppdiffusers.models.modeling_outputs import DecoderOutput, VQEncoderOutput
from ppdiffusers.models.modeling_utils import ModelMixin, wrong_lengths
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal


class VectorQuantizer(nn.Layer):
    """Replace each latent vector by the nearest codebook entry (VQ-VAE, arXiv 1711.00937, eq. 1-3).

    Args:
        n_e: number K of codebook entries.
        vq_embed_dim: dimension D of an entry.
        beta: weight of the commitment loss.
        legacy: apply `beta` to the codebook loss instead; released networks were trained this way.
    """

    def __init__(self, n_e: int, vq_embed_dim: int, beta: float = 0.25, legacy: bool = True):
        super().__init__()
        self.n_e, self.vq_embed_dim, self.beta, self.legacy = n_e, vq_embed_dim, beta, legacy
        self.embedding = nn.Embedding(n_e, vq_embed_dim)

    def nearest(self, z: paddle.Tensor) -> paddle.Tensor:
        """Return the index of the nearest entry for each vector: [B, D, H, W] -> [B * H * W]."""
        codebook = self.embedding.weight  # [K, D]
        vectors = z.transpose([0, 2, 3, 1]).reshape([-1, self.vq_embed_dim])  # [B * H * W, D]
        # |z - e|^2 without |z|^2, which is equal for all entries
        distances = (codebook**2).sum(axis=1) - 2 * paddle.matmul(vectors, codebook, transpose_y=True)
        return distances.argmin(axis=1)

    def forward(self, z: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Quantize z [B, D, H, W]: (quantized [B, D, H, W], loss, indices [B * H * W])."""
        indices = self.nearest(z)
        batch, _, height, width = z.shape
        quantized = self.get_codebook_entry(indices, (batch, height, width, self.vq_embed_dim))
        commitment = ((quantized.detach() - z) ** 2).mean()
        codebook = ((quantized - z.detach()) ** 2).mean()
        loss = commitment + self.beta * codebook if self.legacy else self.beta * commitment + codebook
        quantized = z + (quantized - z).detach()  # straight-through estimator: the gradient of z is that of the result
        return quantized, loss, indices

    def get_codebook_entry(self, indices: paddle.Tensor, shape: tuple[int, int, int, int]) -> paddle.Tensor:
        """Look up the entries of `indices` as a feature map [B, D, H, W]; `shape` is (B, H, W, D)."""
        return self.embedding(indices).reshape(list(shape)).transpose([0, 3, 1, 2])


class VQModel(LatentSpaceMixin, ModelMixin):
    """Encode images [B, in_channels, H, W] into latents [B, vq_embed_dim, h, w]; decode latents or codes into images.

    Args:
        num_vq_embeddings: number of codebook entries.
        vq_embed_dim: dimension of an entry; `latent_channels` by default.
        scaling_factor: normalization of the latents, applied by `scale_latents` and `unscale_latents`
            (`LatentSpaceMixin`).
        lookup_from_codebook: `decode` with `force_not_quantize` expects codes instead of latents.
    """

    # The methods that `runtime.compile` compiles. The codebook search is not among them: its cost is negligible.
    compiled_methods = ("_encode", "_decode")

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
        latent_channels: int = 3,
        sample_size: int = 32,
        num_vq_embeddings: int = 256,
        norm_num_groups: int = 32,
        vq_embed_dim: int | None = None,
        scaling_factor: float = 0.18215,
        norm_type: str = "group",
        mid_block_add_attention: bool = True,
        lookup_from_codebook: bool = False,
        force_upcast: bool = False,
    ):
        super().__init__()
        problems = check_block_types(down_block_types, up_block_types)
        lengths = {"down_block_types": down_block_types, "up_block_types": up_block_types}
        problems += wrong_lengths(len(block_out_channels), **lengths)
        if norm_type != "group":
            problems.append(f'norm_type is {norm_type!r}; only "group" is supported')
        if problems:
            raise ConfigError("This VQModel cannot be built.", problems=problems, expected=known_block_types())
        shared = {
            "block_out_channels": block_out_channels,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
            "act_fn": act_fn,
            "mid_block_add_attention": mid_block_add_attention,
        }
        width = latent_channels if vq_embed_dim is None else vq_embed_dim
        self.encoder = Encoder(in_channels, latent_channels, down_block_types, double_z=False, **shared)
        self.quant_conv = Conv2D(latent_channels, width, 1)
        self.quantize = VectorQuantizer(num_vq_embeddings, width)
        self.post_quant_conv = Conv2D(width, latent_channels, 1)
        self.decoder = Decoder(latent_channels, out_channels, up_block_types, **shared)

    @property
    def latent_channels(self) -> int:
        """Number of channels of the latents: the dimension of a codebook entry."""
        width = self.config.vq_embed_dim
        return self.config.latent_channels if width is None else width

    def encode(self, x: paddle.Tensor, return_dict: bool = True) -> VQEncoderOutput | tuple:
        """Encode images [B, in_channels, H, W] with values in [-1, 1] into latents that are not quantized."""
        x = check_channels(x, self.config.in_channels, type(self).__name__)
        latents = self._encode(x)
        return VQEncoderOutput(latents=latents) if return_dict else (latents,)

    def _encode(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.quant_conv(self.encoder(x))  # [B, vq_embed_dim, h, w]

    def _decode(self, quantized: paddle.Tensor) -> paddle.Tensor:
        return self.decoder(self.post_quant_conv(quantized))

    def decode(
        self,
        h: paddle.Tensor,
        force_not_quantize: bool = False,
        return_dict: bool = True,
        shape: tuple[int, int, int, int] | None = None,
    ) -> DecoderOutput | tuple:
        """Decode latents [B, vq_embed_dim, h, w], after `unscale_latents`, into images [B, out_channels, H, W].

        Args:
            force_not_quantize: `h` is quantized already; with `lookup_from_codebook` it contains codes.
            shape: shape (B, h, w, vq_embed_dim) of the latents that the codes represent.
        """
        codes = force_not_quantize and self.config.lookup_from_codebook
        if not codes:
            h = check_channels(h, self.latent_channels, type(self).__name__)
        elif shape is None:
            raise InputError(
                "VQModel.decode was given codes without a shape.",
                expected="`shape`: (batch, height, width, vq_embed_dim) of the latents that the codes represent",
            )
        if not force_not_quantize:
            quantized, loss, _ = self.quantize(h)
        else:
            quantized = self.quantize.get_codebook_entry(h, shape) if codes else h
            loss = paddle.zeros([h.shape[0]], dtype=quantized.dtype)
        sample = self._decode(quantized)
        return DecoderOutput(sample=sample, commit_loss=loss) if return_dict else (sample, loss)

    def forward(self, sample: paddle.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """Encode, quantize and decode."""
        return self.decode(self.encode(sample).latents, return_dict=return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        size = 2 ** (len(self.config.block_out_channels) + 1)
        return {
            "image": normal(rng, BATCH, self.config.in_channels, size, size),  # [B, C, H, W]
            "codes": rng.integers(0, self.config.num_vq_embeddings, BATCH * 16).reshape(BATCH, 4, 4),  # [B, h, w]
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Decode entries of the codebook: rounding other latents to an entry may differ between frameworks."""
        width = network.config["vq_embed_dim"] or network.config["latent_channels"]
        codes = inputs["codes"]
        latents = network.quantize.get_codebook_entry(codes.flatten(), (*codes.shape, width))  # [B, width, h, w]
        return {"latents": network.encode(inputs["image"]).latents, "decoded": network.decode(latents).sample}
