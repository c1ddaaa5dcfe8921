"""Convert images to tensors and back: resizing, cropping, value ranges, masks, overlays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image
from PIL import ImageFilter, ImageOps

from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.models.attention.masks import mask_to_tokens
from ppdiffusers.utils.pil_modes import is_direct, to_grayscale, to_rgb

PipelineImageInput = (
    PIL.Image.Image | np.ndarray | paddle.Tensor | list[PIL.Image.Image] | list[np.ndarray] | list[paddle.Tensor]
)
PipelineDepthInput = PipelineImageInput

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, paddle.Tensor)

RESAMPLING = {
    "nearest": PIL.Image.Resampling.NEAREST,
    "linear": PIL.Image.Resampling.BILINEAR,
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
    "lanczos": PIL.Image.Resampling.LANCZOS,
}
RESIZE_MODES = ("default", "fill", "crop")
# output_type -> the output it produces; "pt" is diffusers' name of a tensor
OUTPUT_TYPES = {"pil": "pil", "np": "np", "numpy": "np", "np.array": "np", "pd": "pd", "pt": "pd", "latent": "latent"}


def is_valid_image(image: object) -> bool:
    """Return whether `image` is one image: a PIL image, or an array or tensor of rank 2 (grayscale) or 3."""
    if isinstance(image, PIL.Image.Image):
        return True
    return isinstance(image, np.ndarray | paddle.Tensor) and image.ndim in (2, 3)


def is_valid_image_imagelist(images: object) -> bool:
    """Return whether `images` is one image, a batch as an array or tensor of rank 4, or a list of images."""
    if isinstance(images, np.ndarray | paddle.Tensor) and images.ndim == 4:
        return True
    if isinstance(images, list):
        return len(images) > 0 and all(is_valid_image(image) for image in images)
    return is_valid_image(images)


class VaeImageProcessor(ConfigMixin):
    """Preprocess images for a VAE, and postprocess decoded images.

    Args:
        do_resize: resize to multiples of `vae_scale_factor`, or to the height and width passed to `preprocess`.
        vae_scale_factor: number of pixels per latent element along height and width.
        vae_latent_channels: number of channels of latents; `preprocess` returns tensors with it unchanged.
        resample: "nearest", "bilinear", "bicubic" or "lanczos"; filter for PIL images.
        reducing_gap: argument of `PIL.Image.resize`, which makes downsampling faster and less exact.
        do_normalize: map [0, 1] to [-1, 1] in `preprocess`, and back in `postprocess`.
        do_binarize: set values to 0 (below 0.5) or 1, for masks.
        do_convert_rgb, do_convert_grayscale: convert PIL images; at most one of the two.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        do_resize: bool = True,
        vae_scale_factor: int = 8,
        vae_latent_channels: int = 4,
        resample: str = "lanczos",
        reducing_gap: int | None = None,
        do_normalize: bool = True,
        do_binarize: bool = False,
        do_convert_rgb: bool = False,
        do_convert_grayscale: bool = False,
    ):
        problems = []
        if do_convert_rgb and do_convert_grayscale:
            problems.append("`do_convert_rgb` and `do_convert_grayscale` are both True; at most one can be")
        if resample not in RESAMPLING:
            problems.append(f"resample={resample!r} is not one of {', '.join(RESAMPLING)}")
        if problems:
            raise InputError("The settings of VaeImageProcessor are invalid.", problems=problems)

    # -- value ranges and formats -------------------------------------------------------------------------------

    @staticmethod
    def numpy_to_pil(images: np.ndarray) -> list[PIL.Image.Image]:
        """Convert [B, H, W, C] or [H, W, C] in [0, 1] to 8-bit PIL images; one channel results in grayscale images."""
        batch = images[None] if images.ndim == 3 else images  # [B, H, W, C]
        levels = (batch * 255).round().astype(np.uint8)
        if levels.shape[-1] == 1:
            levels = levels[..., 0]  # [B, H, W]
        return [PIL.Image.fromarray(level) for level in levels]

    @staticmethod
    def pil_to_numpy(images: list[PIL.Image.Image] | PIL.Image.Image) -> np.ndarray:
        """Convert PIL images of one size to float32 [B, H, W, C] in [0, 1]; grayscale images to [B, H, W]."""
        images = images if isinstance(images, list) else [images]
        return np.stack([np.asarray(image).astype(np.float32) / 255.0 for image in images])

    @staticmethod
    def numpy_to_pd(images: np.ndarray) -> paddle.Tensor:
        """Convert an array [B, H, W, C] or [B, H, W] to a tensor [B, C, H, W]."""
        images = images[..., None] if images.ndim == 3 else images
        return paddle.to_tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    @staticmethod
    def pd_to_numpy(images: paddle.Tensor) -> np.ndarray:
        """Convert a tensor [B, C, H, W] of any floating-point dtype to a float32 array [B, H, W, C]."""
        return images.astype("float32").numpy().transpose(0, 2, 3, 1)

    numpy_to_pt, pt_to_numpy = numpy_to_pd, pd_to_numpy  # diffusers' names

    @staticmethod
    def normalize(images: ArrayOrTensor) -> ArrayOrTensor:
        """Map [0, 1] to [-1, 1]."""
        return 2.0 * images - 1.0

    @staticmethod
    def denormalize(images: ArrayOrTensor) -> ArrayOrTensor:
        """Map [-1, 1] to [0, 1] and clip."""
        return (images * 0.5 + 0.5).clip(0, 1)

    @staticmethod
    def convert_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
        """Convert an image of any mode to "RGB"; transparent images are composited over white."""
        return to_rgb(image)

    @staticmethod
    def convert_to_grayscale(image: PIL.Image.Image) -> PIL.Image.Image:
        """Convert an image of any mode to "L", scaled by the range of its mode."""
        return to_grayscale(image)

    def binarize(self, image: paddle.Tensor) -> paddle.Tensor:
        """Set values below 0.5 to 0, and other values to 1."""
        return (image >= 0.5).astype(image.dtype)

    # -- masks --------------------------------------------------------------------------------------------------

    @staticmethod
    def blur(image: PIL.Image.Image, blur_factor: int = 4) -> PIL.Image.Image:
        """Apply a Gaussian blur with a radius of `blur_factor` pixels, for masks with soft edges."""
        return image.filter(ImageFilter.GaussianBlur(blur_factor))

    @staticmethod
    def get_crop_region(
        mask_image: PIL.Image.Image, width: int, height: int, pad: int = 0
    ) -> tuple[int, int, int, int]:
        """Compute the bounding box of the masked region, padded and expanded to the aspect ratio of the output.

        Args:
            mask_image: the mask; the region is where it is not black.
            width, height: size of the image to generate, in pixels.
            pad: padding around the masked region, in pixels.

        Returns:
            x1, y1, x2, y2 in pixels of the mask, inside the mask.

        Raises:
            InputError: the mask is black everywhere.
        """
        mask = np.asarray(to_grayscale(mask_image))  # [H, W]
        if not mask.any():
            raise InputError("The mask is black everywhere.", expected="white in the region to inpaint")
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x1, x2 = max(int(columns[0]) - pad, 0), min(int(columns[-1]) + 1 + pad, mask_image.width)
        y1, y2 = max(int(rows[0]) - pad, 0), min(int(rows[-1]) + 1 + pad, mask_image.height)

        aspect_ratio = width / height
        if (x2 - x1) / (y2 - y1) > aspect_ratio:
            y1, y2 = _expand(y1, y2, (x2 - x1) / aspect_ratio, mask_image.height)
        else:
            x1, x2 = _expand(x1, x2, (y2 - y1) * aspect_ratio, mask_image.width)
        return x1, y1, x2, y2

    def apply_overlay(
        self,
        mask: PIL.Image.Image,
        init_image: PIL.Image.Image,
        image: PIL.Image.Image,
        crop_coords: tuple[int, int, int, int] | None = None,
    ) -> PIL.Image.Image:
        """Combine `image`, where the mask is white, with `init_image`, where it is black.

        Args:
            mask: the mask of `init_image`.
            init_image: the original image.
            image: the generated image.
            crop_coords: region x1, y1, x2, y2 of `init_image` that `image` was generated for.
        """
        unmasked = PIL.Image.new("RGBa", init_image.size)  # premultiplied alpha, which blends soft edges correctly
        unmasked.paste(to_rgb(init_image).convert("RGBA").convert("RGBa"), mask=ImageOps.invert(to_grayscale(mask)))
        if crop_coords is not None:
            x1, y1, x2, y2 = crop_coords
            canvas = PIL.Image.new("RGBA", init_image.size)
            canvas.paste(self.resize(image, height=y2 - y1, width=x2 - x1, resize_mode="crop"), (x1, y1))
            image = canvas.convert("RGB")
        combined = image.convert("RGBA")
        combined.alpha_composite(unmasked.convert("RGBA"))
        return combined.convert("RGB")

    # -- sizes --------------------------------------------------------------------------------------------------

    def get_default_height_width(
        self, image: PipelineImageInput, height: int | None = None, width: int | None = None
    ) -> tuple[int, int]:
        """Return height and width, by default those of the image, rounded down to multiples of `vae_scale_factor`.

        Arrays are [B, H, W, ...], tensors [B, C, H, W].
        """
        if isinstance(image, PIL.Image.Image):
            image_height, image_width = image.height, image.width
        else:
            image_height, image_width = image.shape[2:4] if isinstance(image, paddle.Tensor) else image.shape[1:3]
        height, width = image_height if height is None else height, image_width if width is None else width
        factor = self.config.vae_scale_factor
        return height - height % factor, width - width % factor

    def resize(
        self,
        image: PIL.Image.Image | np.ndarray | paddle.Tensor,
        height: int,
        width: int,
        resize_mode: str = "default",
    ) -> PIL.Image.Image | np.ndarray | paddle.Tensor:
        """Resize an image.

        Args:
            image: a PIL image; or an array [B, H, W, C] or a tensor [B, C, H, W], which use nearest neighbors.
            height, width: size in pixels.
            resize_mode: "default" changes the aspect ratio; "fill" keeps it and fills the borders by repeating the
                outermost pixels; "crop" keeps it and crops the center. Arrays and tensors support "default" only.
        """
        if resize_mode not in RESIZE_MODES:
            raise InputError(f"resize_mode={resize_mode!r} is unknown.", expected=", ".join(RESIZE_MODES))
        if isinstance(image, PIL.Image.Image):
            if resize_mode == "fill":
                return self._resize_and_fill(image, width, height)
            if resize_mode == "crop":
                return self._resize_and_crop(image, width, height)
            resample = RESAMPLING[self.config.resample]
            return image.resize((width, height), resample=resample, reducing_gap=self.config.reducing_gap)
        if resize_mode != "default":
            raise InputError(
                f"resize_mode={resize_mode!r} supports PIL images only.", where=type(image), expected="a PIL image"
            )
        if isinstance(image, np.ndarray):
            return self.pd_to_numpy(_nearest(self.numpy_to_pd(image), height, width))
        return _nearest(image, height, width)

    def _resize_and_fill(self, image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
        inner_width = width if width * image.height < image.width * height else image.width * height // image.height
        inner_height = height if width * image.height >= image.width * height else image.height * width // image.width
        inner = image.resize((inner_width, inner_height), resample=RESAMPLING["lanczos"])
        left, top = width // 2 - inner_width // 2, height // 2 - inner_height // 2
        result = PIL.Image.new("RGB", (width, height))
        result.paste(inner, box=(left, top))
        # PIL repeats the outermost row or column when it resizes a box without area.
        if top > 0:
            result.paste(inner.resize((width, top), box=(0, 0, width, 0)), box=(0, 0))
            bottom_border = inner.resize((width, top), box=(0, inner_height, width, inner_height))
            result.paste(bottom_border, box=(0, top + inner_height))
        elif left > 0:
            result.paste(inner.resize((left, height), box=(0, 0, 0, height)), box=(0, 0))
            right_border = inner.resize((left, height), box=(inner_width, 0, inner_width, height))
            result.paste(right_border, box=(left + inner_width, 0))
        return result

    def _resize_and_crop(self, image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
        outer_width = width if width * image.height > image.width * height else image.width * height // image.height
        outer_height = height if width * image.height <= image.width * height else image.height * width // image.width
        outer = image.resize((outer_width, outer_height), resample=RESAMPLING["lanczos"])
        result = PIL.Image.new("RGB", (width, height))
        result.paste(outer, box=(width // 2 - outer_width // 2, height // 2 - outer_height // 2))
        return result

    # -- preprocessing and postprocessing -----------------------------------------------------------------------

    def preprocess(
        self,
        image: PipelineImageInput,
        height: int | None = None,
        width: int | None = None,
        resize_mode: str = "default",
        crops_coords: tuple[int, int, int, int] | None = None,
    ) -> paddle.Tensor:
        """Convert images to a tensor [B, C, H, W], in [-1, 1] if `do_normalize`.

        Args:
            image: PIL images, arrays [H, W, C] or [B, H, W, C], tensors [C, H, W] or [B, C, H, W], or a list of
                one type. Values of arrays and tensors are in [0, 1].
            height, width: size in pixels, by default that of the first image; rounded down to multiples of
                `vae_scale_factor`.
            resize_mode: see `resize`.
            crops_coords: region x1, y1, x2, y2 that PIL images are cropped to before resizing.

        Raises:
            InputError: the format of the images is unsupported.
        """
        images = self._as_list(image)
        if isinstance(images[0], PIL.Image.Image):
            tensor = self._from_pil(images, height, width, resize_mode, crops_coords)
        else:
            tensor = self._from_arrays(images)  # [B, C, H, W]
            if isinstance(images[0], paddle.Tensor) and tensor.shape[1] == self.config.vae_latent_channels:
                return tensor  # latents
            if self.config.do_resize:
                tensor = self.resize(tensor, *self.get_default_height_width(tensor, height, width))
        if self.config.do_normalize:
            tensor = self._normalize_if_needed(tensor)
        return self.binarize(tensor) if self.config.do_binarize else tensor

    def _as_list(self, image: PipelineImageInput) -> list[PIL.Image.Image] | list[np.ndarray] | list[paddle.Tensor]:
        if self.config.do_convert_grayscale and isinstance(image, np.ndarray | paddle.Tensor) and image.ndim == 3:
            image = _grayscale_to_4d(image)
        if (
            isinstance(image, list)
            and image
            and isinstance(image[0], np.ndarray | paddle.Tensor)
            and image[0].ndim == 4
        ):
            image = np.concatenate(image) if isinstance(image[0], np.ndarray) else paddle.concat(image)
        if not is_valid_image_imagelist(image):
            found = [type(one).__name__ for one in image] if isinstance(image, list) else [type(image).__name__]
            shape = f" of shape {tuple(image.shape)}" if hasattr(image, "shape") else ""
            raise InputError(
                f"Unsupported image: {', '.join(sorted(set(found))) or 'an empty list'}{shape}.",
                expected="PIL images, numpy arrays or Paddle tensors of rank 2 to 4, or a list of one type",
            )
        images = image if isinstance(image, list) else [image]
        types = {PIL.Image.Image if isinstance(one, PIL.Image.Image) else type(one) for one in images}
        if len(types) > 1:
            raise InputError(
                f"The list contains images of several types: {', '.join(sorted(kind.__name__ for kind in types))}.",
                expected="images of one type",
            )
        return images

    def _from_pil(
        self,
        images: list[PIL.Image.Image],
        height: int | None,
        width: int | None,
        resize_mode: str,
        crop: tuple[int, int, int, int] | None,
    ) -> paddle.Tensor:
        convert = None
        if self.config.do_convert_rgb or self.config.do_convert_grayscale:
            convert = self.convert_to_rgb if self.config.do_convert_rgb else self.convert_to_grayscale
            ignore_alpha = self.config.do_convert_grayscale
            images = [image if is_direct(image, ignore_alpha) else convert(image) for image in images]
        if crop is not None:
            images = [image.crop(crop) for image in images]
        if self.config.do_resize:
            height, width = self.get_default_height_width(images[0], height, width)
            images = [self.resize(image, height, width, resize_mode) for image in images]
        if convert is not None:
            images = [convert(image) for image in images]
        sizes = {(image.size, image.mode) for image in images}
        if len(sizes) > 1:
            raise InputError(
                "The images differ in size or mode and cannot be one batch.",
                problems=[f"{width}x{height}, mode {mode}" for (width, height), mode in sorted(sizes)],
                remedy="resize and convert them to one mode, or use a processor with `do_resize=True`.",
            )
        return self.numpy_to_pd(self.pil_to_numpy(images))

    def _from_arrays(self, images: list[np.ndarray] | list[paddle.Tensor]) -> paddle.Tensor:
        if isinstance(images[0], np.ndarray):
            arrays = np.concatenate(images) if images[0].ndim == 4 else np.stack(images)
            tensor = self.numpy_to_pd(arrays)
        else:
            tensor = paddle.concat(images) if images[0].ndim == 4 else paddle.stack(images)
            tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor  # [B, H, W] -> [B, 1, H, W]
        if tensor.is_floating_point():
            return tensor
        tensor = tensor.astype("float32")
        if float(tensor.max()) > 1:
            raise InputError(
                f"The image has integer values up to {float(tensor.max()):.0f}.",
                expected="floating-point values in [0, 1], or a PIL image",
                remedy="divide by 255: `image.astype('float32') / 255`.",
            )
        return tensor

    def _normalize_if_needed(self, tensor: paddle.Tensor) -> paddle.Tensor:
        lowest = float(tensor.astype("float32").min())
        if lowest >= 0:
            return self.normalize(tensor)
        warnings.warn(
            f"Images are expected to have values in [0, 1]; the lowest value is {lowest:.3g}. The image is not "
            "normalized, because it seems to be in [-1, 1] already.",
            FutureWarning,
            stacklevel=3,
        )
        return tensor

    def postprocess(
        self, image: paddle.Tensor, output_type: str = "pil", do_denormalize: Sequence[bool] | None = None
    ) -> list[PIL.Image.Image] | np.ndarray | paddle.Tensor:
        """Convert a decoded batch [B, C, H, W] to images.

        Args:
            image: decoded images.
            output_type: "pil", "np" (float32 array [B, H, W, C]), "pd" or "pt" (tensor), or "latent" (unchanged).
            do_denormalize: for each image, whether to map it from [-1, 1] to [0, 1]; `do_normalize` by default.
        """
        if not isinstance(image, paddle.Tensor):
            raise InputError(
                f"{type(image).__name__} cannot be postprocessed.", expected="a Paddle tensor [B, C, H, W]"
            )
        kind = OUTPUT_TYPES.get(output_type)
        if kind is None:
            raise InputError(f"output_type={output_type!r} is unknown.", expected="'pil', 'np', 'pd' or 'latent'")
        if kind == "latent":
            return image
        image = self._denormalize_conditionally(image, do_denormalize)
        if kind == "pd":
            return image
        array = self.pd_to_numpy(image)
        return self.numpy_to_pil(array) if kind == "pil" else array

    def _denormalize_conditionally(
        self, images: paddle.Tensor, do_denormalize: Sequence[bool] | None = None
    ) -> paddle.Tensor:
        if do_denormalize is None:
            do_denormalize = [self.config.do_normalize] * images.shape[0]
        if all(do_denormalize):
            return self.denormalize(images)
        return paddle.stack(
            [self.denormalize(one) if enabled else one for one, enabled in zip(images, do_denormalize, strict=True)]
        )


class IPAdapterMaskProcessor(VaeImageProcessor):
    """Preprocess masks: the regions of an image in which an image prompt counts.

    Pass `height` and `width` of the generated image to `preprocess`, and for several images of one adapter reshape the
    result [N, 1, H, W] to [1, N, H, W].
    """

    def __init__(
        self,
        do_resize: bool = True,
        vae_scale_factor: int = 8,
        resample: str = "lanczos",
        do_normalize: bool = False,
        do_binarize: bool = True,
        do_convert_grayscale: bool = True,
    ):
        self.register_to_config(vae_latent_channels=4, reducing_gap=None, do_convert_rgb=False)
        super().__init__(
            do_resize=do_resize,
            vae_scale_factor=vae_scale_factor,
            resample=resample,
            do_normalize=do_normalize,
            do_binarize=do_binarize,
            do_convert_grayscale=do_convert_grayscale,
        )

    @staticmethod
    def downsample(mask: paddle.Tensor, batch_size: int, num_queries: int, value_embed_dim: int) -> paddle.Tensor:
        """Resize a mask [N, H, W] to tokens: [N * batch_size, num_queries, value_embed_dim]; see `mask_to_tokens`."""
        return mask_to_tokens(mask, batch_size, num_queries).unsqueeze(-1).tile([1, 1, value_embed_dim])


def _nearest(image: paddle.Tensor, height: int, width: int) -> paddle.Tensor:
    return F.interpolate(image, size=(height, width), mode="nearest")


def _grayscale_to_4d(image: np.ndarray | paddle.Tensor) -> np.ndarray | paddle.Tensor:
    """Convert grayscale images of rank 3 to rank 4: tensors [B, H, W], arrays [B, H, W] or [H, W, 1]."""
    if isinstance(image, paddle.Tensor):
        return image.unsqueeze(1)
    return image[None] if image.shape[-1] == 1 else image[..., None]


def _expand(low: int, high: int, length: float, limit: int) -> tuple[int, int]:
    """Expand [low, high) on both sides to `length`, and shift it into [0, limit)."""
    extra = int(length - (high - low))
    low, high = low - extra // 2, high + extra - extra // 2
    if high >= limit:
        low, high = low - (high - limit), limit
    if low < 0:
        low, high = 0, high - low
    return low, min(high, limit)
