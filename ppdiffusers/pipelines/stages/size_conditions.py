"""Conditioning on the sizes and the crop of the training images, and on an aesthetic score.

Podell et al., "SDXL" (arXiv 2307.01952), section 2.2. The refiner reads an aesthetic score in place of the target size.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ppdiffusers.pipelines.stages.checks import check_numbers, check_pairs

Size = tuple[int, int]
Ids = tuple[float, ...]


@dataclass(frozen=True)
class SizeConditions:
    """The numbers that the UNet is conditioned on, and those of its unconditional prediction.

    Attributes:
        original_size, target_size: (height, width) before and after resizing; None is the size of the image.
        crops_coords_top_left: (top, left) of the crop.
        aesthetic_score, negative_aesthetic_score: read in place of `target_size` if they are given.
    """

    original_size: Size | None
    crops_coords_top_left: Size
    target_size: Size | None
    negative_original_size: Size | None = None
    negative_crops_coords_top_left: Size = (0, 0)
    negative_target_size: Size | None = None
    aesthetic_score: float | None = None
    negative_aesthetic_score: float | None = None

    @property
    def count(self) -> int:
        """Number of numbers."""
        return 6 if self.aesthetic_score is None else 5

    def check(self) -> list[str]:
        """Problems of the values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        scores = {name: values.pop(name) for name in ("aesthetic_score", "negative_aesthetic_score")}
        problems = check_pairs(**values)
        if self.aesthetic_score is None:
            return problems
        problems += [
            f"`{name}` has no effect in a refiner, which is conditioned on `aesthetic_score` instead"
            for name in ("target_size", "negative_target_size")
            if values[name] is not None
        ]
        return problems + check_numbers(**scores)

    def of_text_to_image(self, height: int, width: int) -> tuple[Ids, Ids]:
        """(numbers, those of the unconditional prediction), which differ if both negative sizes are given."""
        size = (height, width)
        ids = (*(self.original_size or size), *self.crops_coords_top_left, *(self.target_size or size))
        if self.negative_original_size is None or self.negative_target_size is None:
            return ids, ids
        return ids, (
            *self.negative_original_size,
            *self.negative_crops_coords_top_left,
            *self.negative_target_size,
        )

    def of_image_to_image(self, height: int, width: int) -> tuple[Ids, Ids]:
        """The same for calls that start from an image: each negative size is by default the positive one.

        As in diffusers, `negative_crops_coords_top_left` has an effect with an aesthetic score only.
        """
        original, target = self.original_size or (height, width), self.target_size or (height, width)
        negative_original = self.negative_original_size or original
        if self.aesthetic_score is None:
            return (
                (*original, *self.crops_coords_top_left, *target),
                (*negative_original, *self.crops_coords_top_left, *(self.negative_target_size or target)),
            )
        return (
            (*original, *self.crops_coords_top_left, self.aesthetic_score),
            (*negative_original, *self.negative_crops_coords_top_left, self.negative_aesthetic_score),
        )
