"""Several T2I-Adapters as one: their residuals are added with a weight for each."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.numbered_networks import NumberedNetworks
from ppdiffusers.models.t2i_adapters.t2i_adapter import T2IAdapter


class MultiAdapter(NumberedNetworks):
    """Add the residuals of several T2I-Adapters.

    Each network is saved in a separate folder: `adapter`, `adapter_1`, ...

    Args:
        adapters: two or more networks with residuals of the same channels and sizes.

    Raises:
        InputError: fewer networks, or residuals that cannot be added.
    """

    def __init__(self, adapters: Sequence[T2IAdapter]):
        super().__init__()
        self.adapters = nn.LayerList(adapters)
        self.num_adapter = len(adapters)
        problems = []
        if len(adapters) < 2:
            problems.append(f"{len(adapters)} adapter(s) are given: pass two or more, or use T2IAdapter")
        for n, adapter in enumerate(adapters[1:], start=1):
            found, expected = adapter.features, adapters[0].features
            if found != expected or adapter.downscale_factor != adapters[0].downscale_factor:
                problems.append(
                    f"adapters[{n}] has residuals {[tuple(one) for one in found]} (channels, downscaling), and "
                    f"adapters[0] {[tuple(one) for one in expected]}"
                )
        if problems:
            raise InputError("These adapters cannot be combined.", problems=problems)

    @property
    def _networks(self) -> nn.LayerList:
        return self.adapters

    @property
    def downscale_factor(self) -> int:
        """Height and width of control images are multiples of it."""
        return self.adapters[0].downscale_factor

    @property
    def total_downscale_factor(self) -> int:
        """Height and width of control images, relative to those of the last residual."""
        return self.adapters[0].total_downscale_factor

    def forward(
        self, xs: Sequence[paddle.Tensor], adapter_weights: Sequence[float] | None = None
    ) -> list[paddle.Tensor]:
        """Compute the weighted sums of the residuals.

        Args:
            xs: control images [B, C, H, W] of each adapter.
            adapter_weights: factor of the residuals of each adapter; by default 1 / number of adapters.

        Raises:
            InputError: a list has another length.
        """
        if adapter_weights is None:
            adapter_weights = [1 / self.num_adapter] * self.num_adapter
        lengths = {"xs": len(xs), "adapter_weights": len(adapter_weights)}
        problems = [
            f"{name} has {length} entries for {self.num_adapter} adapters"
            for name, length in lengths.items()
            if length != self.num_adapter
        ]
        if problems:
            raise InputError("The inputs do not fit this MultiAdapter.", problems=problems)
        total: list[paddle.Tensor] = []
        for adapter, x, weight in zip(self.adapters, xs, adapter_weights, strict=True):
            weighted = [residual * float(weight) for residual in adapter(x)]
            total = [a + b for a, b in zip(total, weighted, strict=True)] if total else weighted
        return total
