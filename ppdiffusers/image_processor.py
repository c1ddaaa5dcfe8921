"""Pictures to tensors and back: resizing, cropping, value ranges, masks, overlays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image
from PIL import ImageFilter, ImageOps

from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.core.errors import InputError

PipelineImageInput = (
    PIL.Image.Image | np.ndarray | paddle.Tensor | list[PIL.Image.Image] | list[np.ndarray] | list[paddle.Tensor]
)

RESAMPLING = {
    "nearest": PIL.Image.Resampling.NEAREST,
    "linear": PIL.Image.Resampling.BILINEAR,
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
    "lanczos": PIL.Image.Resampling.LANCZOS,
}
RESIZE_MODES = ("default", "fill", "crop")
# What a call may name -> what it gets. "pt" is what a script written for diffusers says for "a tensor".
OUTPUT_TYPES = {"pil": "pil", "np": "np", "numpy": "np", "np.array": "np", "pd": "pd", "pt": "pd", "latent": "latent"}


def is_valid_image(image: Any) -> bool:
    """Whether it is one picture: PIL, or a 2-D (grayscale) or 3-D array or tensor."""
    if isinstance(image, PIL.Image.Image):
        return True
    return isinstance(image, np.ndarray | paddle.Tensor) and image.ndim in (2, 3)


def is_valid_image_imagelist(images: Any) -> bool:
    """Whether it is one picture, a batch of them in one 4-D array or tensor, or a list of pictures."""
    if isinstance(images, np.ndarray | paddle.Tensor) and images.ndim == 4:
        return True
    if isinstance(images, list):
        return len(images) > 0 and all(is_valid_image(image) for image in images)
    return is_valid_image(images)


class VaeImageProcessor(ConfigMixin):
    """Prepares pictures for a VAE and turns what it decodes into pictures.

    Args:
        do_resize: resize to multiples of `vae_scale_factor` (or to the size asked in `preprocess`).
        vae_scale_factor: pixels per latent position along each side.
        vae_latent_channels: a tensor with this many channels is taken for latents and left alone.
        resample: "nearest", "bilinear", "bicubic" or "lanczos", for PIL pictures.
        reducing_gap: of `PIL.Image.resize`: a quicker, coarser reduction first.
        do_normalize: [0, 1] -> [-1, 1] on the way in, and back on the way out.
        do_binarize: every value becomes 0 or 1 (below 0.5 or not): masks.
        do_convert_rgb, do_convert_grayscale: convert PIL pictures first; at most one of the two.
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
            problems.append("`do_convert_rgb` and `do_convert_grayscale` are both True: choose one")
        if resample not in RESAMPLING:
            problems.append(f"resample={resample!r} is none of {', '.join(RESAMPLING)}")
        if problems:
            raise InputError("VaeImageProcessor cannot be made with these settings.", problems=problems)

    # -- value ranges and formats -------------------------------------------------------------------------------

    @staticmethod
    def numpy_to_pil(images: np.ndarray) -> list[PIL.Image.Image]:
        """[B, H, W, C] or [H, W, C] in [0, 1] -> 8-bit pictures; one channel gives grayscale ones."""
        batch = images[None] if images.ndim == 3 else images  # [B, H, W, C]
        levels = (batch * 255).round().astype(np.uint8)
        if levels.shape[-1] == 1:
            levels = levels[..., 0]  # [B, H, W]
        return [PIL.Image.fromarray(level) for level in levels]

    @staticmethod
    def pil_to_numpy(images: list[PIL.Image.Image] | PIL.Image.Image) -> np.ndarray:
        """Pictures of one size -> float32 [B, H, W, C] in [0, 1]; grayscale ones -> [B, H, W]."""
        images = images if isinstance(images, list) else [images]
        return np.stack([np.asarray(image).astype(np.float32) / 255.0 for image in images])

    @staticmethod
    def numpy_to_pd(images: np.ndarray) -> paddle.Tensor:
        """[B, H, W, C] -> [B, C, H, W]; a 3-D array is [B, H, W]."""
        images = images[..., None] if images.ndim == 3 else images
        return paddle.to_tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    @staticmethod
    def pd_to_numpy(images: paddle.Tensor) -> np.ndarray:
        """[B, C, H, W] of any floating dtype -> float32 [B, H, W, C]."""
        return images.astype("float32").numpy().transpose(0, 2, 3, 1)

    numpy_to_pt, pt_to_numpy = numpy_to_pd, pd_to_numpy  # the names of scripts written for diffusers

    @staticmethod
    def normalize(images: Any) -> Any:
        """[0, 1] -> [-1, 1]."""
        return 2.0 * images - 1.0

    @staticmethod
    def denormalize(images: Any) -> Any:
        """[-1, 1] -> [0, 1], cut off at both ends."""
        return (images * 0.5 + 0.5).clip(0, 1)

    @staticmethod
    def convert_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
        return image.convert("RGB")

    @staticmethod
    def convert_to_grayscale(image: PIL.Image.Image) -> PIL.Image.Image:
        return image.convert("L")

    def binarize(self, image: paddle.Tensor) -> paddle.Tensor:
        """0 below 0.5, otherwise 1."""
        return (image >= 0.5).astype(image.dtype)

    # -- masks --------------------------------------------------------------------------------------------------

    @staticmethod
    def blur(image: PIL.Image.Image, blur_factor: int = 4) -> PIL.Image.Image:
        """Gaussian blur with this radius in pixels: soft mask edges."""
        return image.filter(ImageFilter.GaussianBlur(blur_factor))

    @staticmethod
    def get_crop_region(
        mask_image: PIL.Image.Image, width: int, height: int, pad: int = 0
    ) -> tuple[int, int, int, int]:
        """The box around all that is masked, padded, and widened to the aspect ratio of the picture to be painted.

        Args:
            mask_image: not zero where it is masked.
            width, height: pixels of the picture to be painted.
            pad: pixels around the masked region.

        Returns:
            x1, y1, x2, y2 in pixels of the mask; the box lies inside the mask.
        """
        mask = np.asarray(mask_image.convert("L"))  # [H, W]
        if not mask.any():
            raise InputError("Nothing is masked: the mask is black everywhere.", expected="white where to paint")
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x1, x2 = max(int(columns[0]) - pad, 0), min(int(columns[-1]) + 1 + pad, mask_image.width)
        y1, y2 = max(int(rows[0]) - pad, 0), min(int(rows[-1]) + 1 + pad, mask_image.height)

        wanted = width / height
        if (x2 - x1) / (y2 - y1) > wanted:
            y1, y2 = _widen(y1, y2, (x2 - x1) / wanted, mask_image.height)
        else:
            x1, x2 = _widen(x1, x2, (y2 - y1) * wanted, mask_image.width)
        return x1, y1, x2, y2

    def apply_overlay(
        self,
        mask: PIL.Image.Image,
        init_image: PIL.Image.Image,
        image: PIL.Image.Image,
        crop_coords: tuple[int, int, int, int] | None = None,
    ) -> PIL.Image.Image:
        """`image` where the mask is white, `init_image` where it is black.

        Args:
            crop_coords: x1, y1, x2, y2 of `init_image` that `image` was painted for.
        """
        kept = PIL.Image.new("RGBa", init_image.size)  # premultiplied alpha: soft edges blend without dark rims
        kept.paste(init_image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
        if crop_coords is not None:
            x1, y1, x2, y2 = crop_coords
            canvas = PIL.Image.new("RGBA", init_image.size)
            canvas.paste(self.resize(image, height=y2 - y1, width=x2 - x1, resize_mode="crop"), (x1, y1))
            image = canvas.convert("RGB")
        painted = image.convert("RGBA")
        painted.alpha_composite(kept.convert("RGBA"))
        return painted.convert("RGB")

    # -- sizes --------------------------------------------------------------------------------------------------

    def get_default_height_width(
        self, image: PipelineImageInput, height: int | None = None, width: int | None = None
    ) -> tuple[int, int]:
        """The size asked for, or that of the picture, cut to multiples of `vae_scale_factor`.

        Arrays are [B, H, W, ...], tensors [B, C, H, W].
        """
        if isinstance(image, PIL.Image.Image):
            own_height, own_width = image.height, image.width
        else:
            own_height, own_width = (image.shape[2:4]) if isinstance(image, paddle.Tensor) else image.shape[1:3]
        height, width = own_height if height is None else height, own_width if width is None else width
        factor = self.config.vae_scale_factor
        return height - height % factor, width - width % factor

    def resize(
        self, image: Any, height: int, width: int, resize_mode: str = "default"
    ) -> PIL.Image.Image | np.ndarray | paddle.Tensor:
        """Resize a PIL picture, an array [B, H, W, C] or a tensor [B, C, H, W]; the last two by nearest neighbours.

        Args:
            resize_mode: "default" stretches; "fill" keeps the aspect ratio and repeats the border pixels around;
                "crop" keeps it and cuts off what stands over. The last two are for PIL pictures.
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
                f"resize_mode={resize_mode!r} works on PIL pictures only.", where=type(image), expected="a PIL picture"
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
        # A box without area makes PIL repeat the border row or column.
        if top > 0:
            result.paste(inner.resize((width, top), box=(0, 0, width, 0)), box=(0, 0))
            below = inner.resize((width, top), box=(0, inner_height, width, inner_height))
            result.paste(below, box=(0, top + inner_height))
        elif left > 0:
            result.paste(inner.resize((left, height), box=(0, 0, 0, height)), box=(0, 0))
            beside = inner.resize((left, height), box=(inner_width, 0, inner_width, height))
            result.paste(beside, box=(left + inner_width, 0))
        return result

    def _resize_and_crop(self, image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
        outer_width = width if width * image.height > image.width * height else image.width * height // image.height
        outer_height = height if width * image.height <= image.width * height else image.height * width // image.width
        outer = image.resize((outer_width, outer_height), resample=RESAMPLING["lanczos"])
        result = PIL.Image.new("RGB", (width, height))
        result.paste(outer, box=(width // 2 - outer_width // 2, height // 2 - outer_height // 2))
        return result

    # -- in and out ---------------------------------------------------------------------------------------------

    def preprocess(
        self,
        image: PipelineImageInput,
        height: int | None = None,
        width: int | None = None,
        resize_mode: str = "default",
        crops_coords: tuple[int, int, int, int] | None = None,
    ) -> paddle.Tensor:
        """Pictures -> a tensor [B, C, H, W], in [-1, 1] when `do_normalize`.

        Args:
            image: PIL pictures, arrays [H, W, C] or [B, H, W, C], tensors [C, H, W] or [B, C, H, W], or a list of
                one kind; values of arrays and tensors lie in [0, 1].
            height, width: pixels; by default those of the first picture. Cut to multiples of `vae_scale_factor`.
            resize_mode: see `resize`.
            crops_coords: x1, y1, x2, y2 to cut out of PIL pictures first.

        Raises:
            InputError: the pictures are in no such format.
        """
        images = self._as_list(image)
        if isinstance(images[0], PIL.Image.Image):
            tensor = self._from_pil(images, height, width, resize_mode, crops_coords)
        else:
            tensor = self._from_arrays(images)  # [B, C, H, W]
            if isinstance(images[0], paddle.Tensor) and tensor.shape[1] == self.config.vae_latent_channels:
                return tensor  # latents already
            if self.config.do_resize:
                tensor = self.resize(tensor, *self.get_default_height_width(tensor, height, width))
        if self.config.do_normalize:
            tensor = self._normalize_once(tensor)
        return self.binarize(tensor) if self.config.do_binarize else tensor

    def _as_list(self, image: Any) -> list:
        if self.config.do_convert_grayscale and isinstance(image, np.ndarray | paddle.Tensor) and image.ndim == 3:
            image = _gray_batch(image)
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
                f"These are no pictures: {', '.join(sorted(set(found))) or 'an empty list'}{shape}.",
                expected="PIL pictures, numpy arrays or Paddle tensors of 2 to 4 axes, or a list of one kind",
            )
        images = image if isinstance(image, list) else [image]
        kinds = {PIL.Image.Image if isinstance(one, PIL.Image.Image) else type(one) for one in images}
        if len(kinds) > 1:
            raise InputError(
                f"The list mixes {', '.join(sorted(kind.__name__ for kind in kinds))}.", expected="pictures of one kind"
            )
        return images

    def _from_pil(self, images: list, height: Any, width: Any, resize_mode: str, crop: Any) -> paddle.Tensor:
        if crop is not None:
            images = [image.crop(crop) for image in images]
        if self.config.do_resize:
            height, width = self.get_default_height_width(images[0], height, width)
            images = [self.resize(image, height, width, resize_mode) for image in images]
        if self.config.do_convert_rgb:
            images = [self.convert_to_rgb(image) for image in images]
        elif self.config.do_convert_grayscale:
            images = [self.convert_to_grayscale(image) for image in images]
        sizes = {(image.size, image.mode) for image in images}
        if len(sizes) > 1:
            raise InputError(
                "The pictures differ in size or mode and cannot be one batch.",
                problems=[f"{width}x{height}, mode {mode}" for (width, height), mode in sorted(sizes)],
                remedy="let the processor resize (`do_resize=True`), or resize and convert them to one mode first",
            )
        return self.numpy_to_pd(self.pil_to_numpy(images))

    def _from_arrays(self, images: list) -> paddle.Tensor:
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
                f"The picture has whole values up to {float(tensor.max()):.0f}.",
                expected="floating point values in [0, 1], or a PIL picture",
                remedy="divide by 255: `image.astype('float32') / 255`",
            )
        return tensor

    def _normalize_once(self, tensor: paddle.Tensor) -> paddle.Tensor:
        lowest = float(tensor.astype("float32").min())
        if lowest >= 0:
            return self.normalize(tensor)
        warnings.warn(
            f"The picture's values go down to {lowest:.3g}: it is taken for one that is in [-1, 1] already. "
            "Pictures are expected in [0, 1].",
            FutureWarning,
            stacklevel=3,
        )
        return tensor

    def postprocess(
        self, image: paddle.Tensor, output_type: str = "pil", do_denormalize: Sequence[bool] | None = None
    ) -> list[PIL.Image.Image] | np.ndarray | paddle.Tensor:
        """A decoded batch [B, C, H, W] -> pictures.

        Args:
            output_type: "pil", "np" ([B, H, W, C] float32), "pd" (a tensor; "pt" means the same), or "latent" (as is).
            do_denormalize: for each picture, whether it is in [-1, 1]; by default `do_normalize` says so for all.
        """
        if not isinstance(image, paddle.Tensor):
            raise InputError(
                f"{type(image).__name__} cannot be post-processed.", expected="a Paddle tensor [B, C, H, W]"
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
            [self.denormalize(one) if wanted else one for one, wanted in zip(images, do_denormalize, strict=True)]
        )


def _nearest(image: paddle.Tensor, height: int, width: int) -> paddle.Tensor:
    return F.interpolate(image, size=(height, width), mode="nearest")


def _gray_batch(image: np.ndarray | paddle.Tensor) -> np.ndarray | paddle.Tensor:
    """A 3-D grayscale picture or batch -> 4-D: [B, H, W] or [1, H, W] tensors, [B, H, W] or [H, W, 1] arrays."""
    if isinstance(image, paddle.Tensor):
        return image.unsqueeze(1)
    return image[None] if image.shape[-1] == 1 else image[..., None]


def _widen(low: int, high: int, length: float, limit: int) -> tuple[int, int]:
    """[low, high) grown on both sides to `length`, then moved back inside [0, limit)."""
    missing = int(length - (high - low))
    low, high = low - missing // 2, high + missing - missing // 2
    if high >= limit:
        low, high = low - (high - limit), limit
    if low < 0:
        low, high = 0, high - low
    return low, min(high, limit)
