"""Finding the first stage of a call that computed NaN or infinity."""

from __future__ import annotations

import paddle

from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


class FiniteCheck:
    """Record for each stage of a call whether its result is finite.

    The findings stay tensors until `first_bad` reads them, so that a GPU is not synchronised at each step.
    """

    def __init__(self) -> None:
        self._findings: list[tuple[str, paddle.Tensor]] = []

    def note(self, stage: str, result: paddle.Tensor) -> None:
        """Record the result of a stage."""
        self._findings.append((stage, paddle.isfinite(result).all()))

    def first_bad(self) -> str | None:
        """The first stage whose result has NaN or infinite values."""
        return next((stage for stage, finite in self._findings if not bool(finite)), None)

    def warn(self) -> None:
        """Log the first stage whose result is not finite: images made from it are black or noise."""
        stage = self.first_bad()
        if stage is not None:
            logger.warning(
                "NaN or infinite values first appeared in: %s. Images made from them are black. "
                "In half precision, try float32 (`pipe.to(dtype='float32')`); otherwise check the weights and inputs.",
                stage,
            )
