"""What the networks return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import paddle

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class UNet1DOutput(BaseOutput):
    """`sample`: [B, C, L], the prediction for the last layer's input."""

    sample: paddle.Tensor


@dataclass
class UNet2DOutput(BaseOutput):
    """`sample`: [B, C, H, W], the prediction for the last layer's input."""

    sample: paddle.Tensor


@dataclass
class UNet2DConditionOutput(BaseOutput):
    """`sample`: [B, C, H, W], the prediction for the last layer's input."""

    sample: paddle.Tensor = None


@dataclass
class AutoencoderKLOutput(BaseOutput):
    """`latent_dist`: a `DiagonalGaussianDistribution` over latents [B, C, h, w]."""

    latent_dist: Any


@dataclass
class DecoderOutput(BaseOutput):
    """`sample`: [B, C, H, W], the decoded picture, values about -1 to 1; `commit_loss`: that of a codebook, if any."""

    sample: paddle.Tensor
    commit_loss: paddle.Tensor | None = None


@dataclass
class VQEncoderOutput(BaseOutput):
    """`latents`: [B, C, h, w], not quantized yet."""

    latents: paddle.Tensor


@dataclass
class Transformer2DModelOutput(BaseOutput):
    """`sample`: features [B, C, H, W], or log-probabilities of codes [B, codes, N]."""

    sample: paddle.Tensor
