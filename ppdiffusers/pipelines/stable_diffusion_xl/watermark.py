"""The invisible watermark of Stable Diffusion XL."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.core.extras import available, need

PACKAGE = "imwatermark"
MESSAGE = 0b101100111110110010010000011110111011000110011110  # that of Stability AI's generative-models
SMALLEST_WIDTH = 256  # the package cannot mark smaller images


def watermarker(add_watermarker: bool | None) -> StableDiffusionXLWatermarker | None:
    """A watermarker if requested; by default if the package `invisible-watermark` is installed."""
    wanted = available(PACKAGE) if add_watermarker is None else add_watermarker
    return StableDiffusionXLWatermarker() if wanted else None


class StableDiffusionXLWatermarker:
    """Add an invisible watermark to images, by the package `invisible-watermark`."""

    def __init__(self) -> None:
        self.encoder = need(
            PACKAGE, "to add an invisible watermark (`add_watermarker=False` adds none)"
        ).WatermarkEncoder()
        self.encoder.set_watermark("bits", [int(bit) for bit in f"{MESSAGE:b}"])

    def apply_watermark(self, images: paddle.Tensor) -> paddle.Tensor:
        """Mark images [B, 3, H, W] in [-1, 1]; images narrower than 256 pixels stay as they are."""
        if images.shape[-1] < SMALLEST_WIDTH:
            return images
        pixels = (255 * (images.astype("float32") / 2 + 0.5)).transpose([0, 2, 3, 1]).numpy()  # [B, H, W, 3]
        bgr = pixels[..., ::-1]  # the channel order of the package
        marked = np.stack([self.encoder.encode(image, "dwtDct")[..., ::-1] for image in bgr])
        result = paddle.to_tensor(np.ascontiguousarray(marked.transpose(0, 3, 1, 2), dtype=np.float32))
        return (2 * (result / 255 - 0.5)).clip(-1.0, 1.0)  # [B, 3, H, W]
