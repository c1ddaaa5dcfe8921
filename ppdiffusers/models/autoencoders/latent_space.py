"""Latent space of the autoencoders: normalization of latents, and distinguishing latents from images.

A diffusion model is trained on normalized latents. Which normalization applies is a property of the autoencoder's
configuration, so it is implemented here once, in both directions, with the formulas of diffusers' pipelines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import paddle

from ppdiffusers.core.config import FrozenDict
from ppdiffusers.core.errors import ConfigError, InputError


class LatentSpaceMixin:
    """Normalize latents and distinguish them from images, for networks with these keys in their configuration.

    Configuration keys:
        latents_mean, latents_std: mean and standard deviation of each channel; one without the other has no effect.
        shift_factor: mean of all channels; has no effect if `latents_mean` and `latents_std` are set.
        scaling_factor: factor of the normalized latents, which have unit variance.
    """

    config: FrozenDict

    # Whether `encode` returns a distribution over latents (`latent_dist`) instead of latents.
    encodes_distribution = True

    @property
    def latent_channels(self) -> int:
        """Number of channels C of the latents [B, C, h, w]."""
        return self.config.latent_channels

    def normalize_latents(self, latents: paddle.Tensor) -> paddle.Tensor:
        """Normalize encoded latents [B, C, h, w] for the diffusion model; the dtype is kept."""
        config = self.config
        statistics = self._latent_statistics()
        if statistics is not None:
            mean, std = statistics  # [1, C, 1, 1]
            return ((latents - mean) * config.scaling_factor / std).astype(latents.dtype)  # [B, C, h, w]
        shift = config.get("shift_factor")
        return (latents if shift is None else latents - shift) * config.scaling_factor  # [B, C, h, w]

    def denormalize_latents(self, latents: paddle.Tensor) -> paddle.Tensor:
        """Invert `normalize_latents`: normalized latents [B, C, h, w] to latents that `decode` expects."""
        config = self.config
        statistics = self._latent_statistics()
        if statistics is not None:
            mean, std = statistics  # [1, C, 1, 1]
            return (latents * std / config.scaling_factor + mean).astype(latents.dtype)  # [B, C, h, w]
        latents = latents / config.scaling_factor  # [B, C, h, w]
        shift = config.get("shift_factor")
        return latents if shift is None else latents + shift

    def is_latents(self, image: object, kind: Literal["image", "latents"] | None = None) -> bool:
        """Return whether an `image` argument contains latents of this autoencoder instead of images.

        Only tensors [C, H, W] or [B, C, H, W], and lists of them, can be latents. Without `kind`, a tensor with
        `latent_channels` channels is latents, as in diffusers; if images have the same number of channels
        (`config.in_channels`), it is an image.

        Args:
            image: what a pipeline accepts as an image: PIL images, arrays, tensors, or lists of them.
            kind: what the caller declares it to be; needed where the number of channels does not decide.

        Raises:
            InputError: `kind` is "latents" and the number of channels is not `latent_channels`.
        """
        if kind not in (None, "image", "latents"):
            raise InputError(f"kind={kind!r} is unknown.", expected='"image", "latents" or None')
        if kind == "image":
            return False
        first = image[0] if isinstance(image, (list, tuple)) and image else image
        is_tensor = isinstance(first, paddle.Tensor) and first.ndim in (3, 4)
        matches = is_tensor and first.shape[-3] == self.latent_channels
        if kind is None:
            return matches and self.latent_channels != self.config.in_channels
        if not matches:
            found = (
                f"a tensor of shape {list(first.shape)}" if isinstance(first, paddle.Tensor) else type(first).__name__
            )
            raise InputError(
                f"Latents of {type(self).__name__} were expected, got {found}.",
                expected=f"a tensor [batch, {self.latent_channels}, height, width]",
            )
        return True

    def _latent_statistics(self) -> tuple[paddle.Tensor, paddle.Tensor] | None:
        """Mean and standard deviation of each channel, each [1, C, 1, 1].

        They are float32, so that half-precision latents are promoted: Paddle has no half-precision sum on a CPU.
        """
        mean, std = self.config.get("latents_mean"), self.config.get("latents_std")
        if mean is None or std is None:
            return None
        channels = self.latent_channels
        problems = [
            f"{name} has {len(values)} values"
            for name, values in (("latents_mean", mean), ("latents_std", std))
            if len(values) != channels
        ]
        if problems:
            raise ConfigError(
                f"The latent statistics of {type(self).__name__} do not match its latents.",
                problems=problems,
                expected=f"{channels} values, one for each latent channel",
            )
        return _per_channel(mean), _per_channel(std)


def _per_channel(values: Sequence[float]) -> paddle.Tensor:  # [1, C, 1, 1]
    return paddle.to_tensor(list(values), dtype="float32").reshape([1, -1, 1, 1])
