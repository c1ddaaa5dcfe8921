"""Safety guidance with momentum. Schramowski et al., "Safe Latent Diffusion", arXiv 2211.05105, section 3."""

from __future__ import annotations

from dataclasses import dataclass

import paddle


@dataclass
class SafetyGuidance:
    """Combine three predictions to one that follows the prompt and moves away from the safety concept.

    The symbols of the paper are in brackets. One object is used for one call: it accumulates the momentum.

    Attributes:
        scale: s_S, of the safety guidance.
        warmup_steps: delta, number of first steps without safety guidance; the momentum accumulates in them too.
        threshold: lambda; there is no guidance where the prediction with the prompt exceeds that with the concept by
            this or more.
        momentum_scale: s_m, how much the momentum adds to the guidance.
        momentum_beta: beta_m, the fraction of the momentum that is kept in each step.
        momentum: nu, [B, C, h, w].
    """

    scale: float
    warmup_steps: int
    threshold: float
    momentum_scale: float
    momentum_beta: float
    momentum: paddle.Tensor | None = None

    def __call__(self, noise_pred: paddle.Tensor, step: int, guidance_scale: float) -> paddle.Tensor:
        """The guided prediction [B, C, h, w] of a step (equation 3).

        Args:
            noise_pred: predictions without condition, with the prompt, with the safety concept: [3B, C, h, w].
        """
        unconditional, prompt, concept = noise_pred.chunk(3)
        guidance = prompt - unconditional
        mu = safety_scale(prompt - concept, self.scale, self.threshold)
        gamma = mu * (concept - unconditional)
        if self.momentum is not None:
            gamma = gamma + self.momentum_scale * self.momentum  # eq. 7
        self.momentum = self._next_momentum(gamma)
        if step >= self.warmup_steps:
            guidance = guidance - gamma
        return unconditional + guidance_scale * guidance

    def _next_momentum(self, gamma: paddle.Tensor) -> paddle.Tensor:
        kept = (1 - self.momentum_beta) * gamma
        return kept if self.momentum is None else self.momentum_beta * self.momentum + kept  # eq. 8


def safety_scale(difference: paddle.Tensor, scale: float, threshold: float) -> paddle.Tensor:
    """mu of equations 5 and 6: `scale` times the distance, at most 1; 0 where the difference reaches the threshold.

    Args:
        difference: the prediction with the prompt minus that with the concept, [B, C, h, w].
    """
    phi = (difference.abs() * scale).clip(max=1.0)
    return paddle.where(difference >= threshold, paddle.zeros_like(phi), phi)
