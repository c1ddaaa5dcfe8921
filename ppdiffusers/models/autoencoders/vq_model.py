"""Autoencoder with a codebook (VQGAN, arXiv 2012.09841; latents of LDM, arXiv 2112.10752, and VQ-Diffusion)."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.autoencoders.vae import Decoder, Encoder
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.factory import check_block_types, known_block_types
from ppdiffusers.models.modeling_outputs import DecoderOutput, VQEncoderOutput
from ppdiffusers.models.modeling_utils import ModelMixin, wrong_lengths


class VectorQuantizer(nn.Layer):
    """Replaces every latent vector by the nearest entry of a codebook (VQ-VAE, arXiv 1711.00937, eq. 1-3).

    Args:
        n_e: K, entries of the codebook.
        vq_embed_dim: D, width of an entry.
        beta: weight of the commitment in the loss.
        legacy: whether beta weighs the codebook's term instead, as published networks were trained.
    """

    def __init__(self, n_e: int, vq_embed_dim: int, beta: float = 0.25, legacy: bool = True):
        super().__init__()
        self.n_e, self.vq_embed_dim, self.beta, self.legacy = n_e, vq_embed_dim, beta, legacy
        self.embedding = nn.Embedding(n_e, vq_embed_dim)

    def nearest(self, z: paddle.Tensor) -> paddle.Tensor:
        """Index of the nearest entry for each vector: [B, D, H, W] -> [B * H * W]."""
        codebook = self.embedding.weight  # [K, D]
        vectors = z.transpose([0, 2, 3, 1]).reshape([-1, self.vq_embed_dim])  # [B * H * W, D]
        # |z - e|^2 without |z|^2, which is the same for all entries
        distances = (codebook**2).sum(axis=1) - 2 * paddle.matmul(vectors, codebook, transpose_y=True)
        return distances.argmin(axis=1)

    def forward(self, z: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """z: [B, D, H, W] -> (its quantized form, the loss, indices [B * H * W])."""
        indices = self.nearest(z)
        batch, _, height, width = z.shape
        quantized = self.get_codebook_entry(indices, (batch, height, width, self.vq_embed_dim))
        commitment = ((quantized.detach() - z) ** 2).mean()
        codebook = ((quantized - z.detach()) ** 2).mean()
        loss = commitment + self.beta * codebook if self.legacy else self.beta * commitment + codebook
        quantized = z + (quantized - z).detach()  # gradients go straight through
        return quantized, loss, indices

    def get_codebook_entry(self, indices: paddle.Tensor, shape: tuple[int, int, int, int]) -> paddle.Tensor:
        """Entries of `indices` as a picture [B, D, H, W]; `shape` is (B, H, W, D)."""
        return self.embedding(indices).reshape(list(shape)).transpose([0, 3, 1, 2])


class VQModel(ModelMixin):
    """Pictures [B, in_channels, H, W] to latents [B, vq_embed_dim, h, w], and latents or codes to pictures.

    Args:
        num_vq_embeddings: entries of the codebook; vq_embed_dim: their width (default: latent_channels).
        scaling_factor: pipelines multiply latents by it, so that they have unit variance.
        lookup_from_codebook: with `force_not_quantize`, `decode` is given codes in place of latents.
    """

    # what `runtime.compile` compiles: the search in the codebook stays outside, it costs nothing
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
            problems.append(f'norm_type is {norm_type!r}, networks with "group" can be built')
        if problems:
            raise ConfigError("This VQModel cannot be built.", problems=problems, expected=known_block_types())
        shared = {
            "block_out_channels": block_out_channels,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
            "act_fn": act_fn,
            "mid_block_add_attention": mid_block_add_attention,
        }
        self.latent_width = latent_channels if vq_embed_dim is None else vq_embed_dim
        self.encoder = Encoder(in_channels, latent_channels, down_block_types, double_z=False, **shared)
        self.quant_conv = Conv2D(latent_channels, self.latent_width, 1)
        self.quantize = VectorQuantizer(num_vq_embeddings, self.latent_width)
        self.post_quant_conv = Conv2D(self.latent_width, latent_channels, 1)
        self.decoder = Decoder(latent_channels, out_channels, up_block_types, **shared)

    def encode(self, x: paddle.Tensor, return_dict: bool = True) -> VQEncoderOutput | tuple:
        """Pictures [B, in_channels, H, W], values -1 to 1, to latents that are not quantized yet."""
        check_channels(x, self.config.in_channels, type(self).__name__)
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
        """Latents [B, vq_embed_dim, h, w], already divided by `scaling_factor`, to pictures.

        Args:
            force_not_quantize: `h` is in the codebook already; with `lookup_from_codebook` it holds codes.
            shape: (B, h, w, vq_embed_dim) of the latents that codes stand for.
        """
        codes = force_not_quantize and self.config.lookup_from_codebook
        if not codes:
            check_channels(h, self.latent_width, type(self).__name__)
        elif shape is None:
            raise InputError("VQModel.decode needs the shape of the latents that codes stand for.")
        if not force_not_quantize:
            quantized, loss, _ = self.quantize(h)
        else:
            quantized = self.quantize.get_codebook_entry(h, shape) if codes else h
            loss = paddle.zeros([h.shape[0]], dtype=quantized.dtype)
        sample = self._decode(quantized)
        return DecoderOutput(sample=sample, commit_loss=loss) if return_dict else (sample, loss)

    def forward(self, sample: paddle.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """Encode, quantize and decode again."""
        return self.decode(self.encode(sample).latents, return_dict=return_dict)
