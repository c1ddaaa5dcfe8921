"""Outputs of the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from ppdiffusers.core.outputs import BaseOutput

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.vae import DiagonalGaussianDistribution


@dataclass
class UNet1DOutput(BaseOutput):
    """`sample`: [B, C, L], the prediction."""

    sample: paddle.Tensor


@dataclass
class UNet2DOutput(BaseOutput):
    """`sample`: [B, C, H, W], the prediction."""

    sample: paddle.Tensor


@dataclass
class UNet2DConditionOutput(BaseOutput):
    """`sample`: [B, C, H, W], the prediction."""

    sample: paddle.Tensor = None


@dataclass
class AutoencoderKLOutput(BaseOutput):
    """`latent_dist`: a `DiagonalGaussianDistribution` over latents [B, C, h, w]."""

    latent_dist: DiagonalGaussianDistribution


@dataclass
class AutoencoderTinyOutput(BaseOutput):
    """`latents`: [B, C, h, w]."""

    latents: paddle.Tensor


@dataclass
class DecoderOutput(BaseOutput):
    """`sample`: [B, C, H, W], the decoded image, about -1 to 1; `commit_loss`: the codebook's, if there is one."""

    sample: paddle.Tensor
    commit_loss: paddle.Tensor | None = None


@dataclass
class VQEncoderOutput(BaseOutput):
    """`latents`: [B, C, h, w], before quantization."""

    latents: paddle.Tensor


@dataclass
class Transformer2DModelOutput(BaseOutput):
    """`sample`: features [B, C, H, W], or log-probabilities of codes [B, codes, N]."""

    sample: paddle.Tensor


@dataclass
class ControlNetOutput(BaseOutput):
    """Residuals for a UNet.

    Args:
        down_block_res_samples: one for each skip connection, [B, C, h, w], or [B, C, 1, 1] if they are pooled.
        mid_block_res_sample: the same for the output of the middle block.
    """

    down_block_res_samples: tuple[paddle.Tensor, ...]
    mid_block_res_sample: paddle.Tensor
