"""The visible watermark of DeepFloyd IF, which its licence requires."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dummy_inputs import DummyInputs

SIZE = 62  # of the watermark in an image of REFERENCE x REFERENCE pixels
MARGIN = 14  # on the right and at the bottom
REFERENCE = 1024


class IFWatermarker(ModelMixin):
    """Paste the watermark that is stored with the checkpoint: [62, 62, 4], red, green, blue and opacity in 0..255."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.watermark_image = self.create_parameter([SIZE, SIZE, 4], default_initializer=nn.initializer.Constant())
        self.watermark_image.stop_gradient = True

    def apply_watermark(self, images: list[PIL.Image.Image], sample_size: int | None = None) -> list[PIL.Image.Image]:
        """Paste the watermark into the images, in place, at the bottom right; return them.

        Args:
            images: of one size.
            sample_size: height and width that the network generates; by default the height of the images. The
                watermark is that of images of this size.
        """
        width, height = images[0].size
        sample_size = sample_size or height
        shrink = min(1.0, height / sample_size, width / sample_size)
        width, height = (int(width / shrink), int(height / shrink)) if shrink < 1 else (width, height)
        scale = (width * height / REFERENCE**2) ** 0.5
        size, right, bottom = int(scale * SIZE), width - int(scale * MARGIN), height - int(scale * MARGIN)
        if size < 1:  # in images of less than 17 x 17 pixels
            return images
        pixels = self.watermark_image.astype("float32").numpy().astype(np.uint8)
        watermark = PIL.Image.fromarray(pixels, mode="RGBA").resize((size, size), PIL.Image.Resampling.BICUBIC)
        for image in images:
            image.paste(watermark, box=(right - size, bottom - size, right, bottom), mask=watermark.getchannel("A"))
        return images

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {}

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Compare the watermark itself: the module has no call."""
        return {"watermark_image": network.watermark_image}
