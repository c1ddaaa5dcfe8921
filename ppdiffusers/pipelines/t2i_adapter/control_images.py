"""Control images of a call with T2I-Adapters: their sizes, their conversion, and the residuals for the UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.models.t2i_adapters.multi_adapter import MultiAdapter
from ppdiffusers.models.t2i_adapters.t2i_adapter import T2IAdapter
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Tensors
from ppdiffusers.utils.dtypes import dtype_of

Adapter = T2IAdapter | MultiAdapter
Scale = float | Sequence[float] | None


def combined(adapter: Adapter | Sequence[T2IAdapter]) -> Adapter:
    """A component for the pipeline: several adapters become one."""
    return adapter if isinstance(adapter, T2IAdapter | MultiAdapter) else MultiAdapter(adapter)


def adapters_of(adapter: Adapter) -> list[T2IAdapter]:
    """The adapters as a list."""
    return list(adapter.adapters) if isinstance(adapter, MultiAdapter) else [adapter]


def images_of(adapter: Adapter, images: Any) -> list[Any]:
    """The images of each adapter."""
    return list(images) if isinstance(adapter, MultiAdapter) else [images]


def default_size(adapter: Adapter, images: Any, height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width, by default those of the first control image, rounded down to what the adapter accepts."""
    factor = adapter.downscale_factor
    default = [length - length % factor for length in checks.size_of(images)]
    return default[0] if height is None else height, default[1] if width is None else width


def to_tensor(adapter: T2IAdapter, images: Any, height: int, width: int) -> paddle.Tensor:
    """Control images [N, C, height, width] in the dtype of the adapter; values of PIL images become 0 to 1.

    PIL images are resized, and converted to RGB or grayscale as the adapter has three channels or one.
    """
    channels = adapter.config.in_channels
    processor = VaeImageProcessor(
        vae_scale_factor=1, do_normalize=False, do_convert_rgb=channels == 3, do_convert_grayscale=channels == 1
    )
    return processor.preprocess(images, height=height, width=width).astype(dtype_of(adapter))


class AddResiduals:
    """Arguments of the UNet that adapters add: `(index, t, tensors) -> kwargs`.

    Args:
        residuals: see `residuals_of`.
        calls: number of timesteps, from the first one, in which they are added; by default all.
    """

    def __init__(self, residuals: list[paddle.Tensor], calls: int | None = None):
        self.residuals, self.calls = residuals, calls

    def __call__(self, index: int, t: Any, tensors: Tensors) -> dict[str, Any]:
        if self.calls is not None and index >= self.calls:
            return {}
        return {"down_intrablock_additional_residuals": self.residuals}


def residuals_of(
    adapter: Adapter,
    images: Any,
    scale: Scale,
    *,
    height: int,
    width: int,
    batch_size: int,
    do_classifier_free_guidance: bool,
) -> list[paddle.Tensor]:
    """Residuals of the UNet, [2B or B, C, h, w] each, which are the same in all steps.

    Args:
        images: of each adapter: one for the batch, or one for each prompt.
        scale: factor of the residuals, for all adapters or for each; None is the default of `MultiAdapter`.
        batch_size: number of images to generate, B.
    """
    each = [
        to_tensor(one, entry, height, width)
        for one, entry in zip(adapters_of(adapter), images_of(adapter, images), strict=True)
    ]
    if isinstance(adapter, MultiAdapter):
        # an adapter may have one image while another one has an image for each prompt
        count = max(image.shape[0] for image in each)
        each = [image.repeat_interleave(count // image.shape[0], axis=0) for image in each]
        weights = scale if scale is None or isinstance(scale, list | tuple) else [scale] * len(each)
        found = adapter(each, weights)
    else:
        factor = scale[0] if isinstance(scale, list | tuple) else scale
        found = [residual * factor for residual in adapter(each[0])]
    # the images of a prompt are next to each other in the batch
    found = [residual.repeat_interleave(batch_size // residual.shape[0], axis=0) for residual in found]
    return [paddle.concat([residual] * 2) for residual in found] if do_classifier_free_guidance else found
