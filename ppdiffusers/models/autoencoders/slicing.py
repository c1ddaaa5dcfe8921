"""Slicing and tiling settings that autoencoders share."""

from __future__ import annotations

from collections.abc import Callable

import paddle

TensorFunction = Callable[[paddle.Tensor], paddle.Tensor]


class SlicingMixin:
    """Process one image of a batch at a time, or large images in tiles, to bound the memory."""

    use_slicing = False
    use_tiling = False

    def enable_slicing(self) -> None:
        """Encode and decode one image of a batch at a time."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        self.use_slicing = False

    def enable_tiling(self, use_tiling: bool = True) -> None:
        """Encode and decode large images in overlapping tiles and blend the overlaps."""
        self.use_tiling = use_tiling

    def disable_tiling(self) -> None:
        self.enable_tiling(False)

    def _in_slices(self, function: TensorFunction, x: paddle.Tensor) -> paddle.Tensor:
        """Apply `function` to a batch [B, C, H, W], image by image if slicing is enabled."""
        if self.use_slicing and x.shape[0] > 1:
            return paddle.concat([function(one) for one in x.split(x.shape[0], axis=0)], axis=0)
        return function(x)
