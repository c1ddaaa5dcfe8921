"""Pictures from files and addresses."""

from __future__ import annotations

import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.version import __version__

TIMEOUT = 60  # seconds without a byte after which an address counts as dead


def load_image(
    image: str | os.PathLike | Image.Image, convert_method: Callable[[Image.Image], Image.Image] | None = None
) -> Image.Image:
    """A picture, turned upright as its camera says, in RGB.

    Args:
        image: a path, an address that starts with "http://" or "https://", or a picture.
        convert_method: what to do instead of `.convert("RGB")`, such as keeping the alpha channel.

    Raises:
        SourceError: nothing was found at the path or address.
        InputError: what was found is no picture.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        opened = _decoded(io.BytesIO(_download(image)), image)
    elif isinstance(image, str | os.PathLike):
        if not Path(image).is_file():
            raise SourceError(
                "There is no picture of this name.",
                where=image,
                expected="the path of a file, or an address that starts with http:// or https://",
            )
        opened = _decoded(image, image)
    elif isinstance(image, Image.Image):
        opened = image
    else:
        raise InputError(
            "This is not a picture.", where=repr(type(image)), expected="a path, an address, or a PIL.Image.Image"
        )
    upright = ImageOps.exif_transpose(opened)
    return upright.convert("RGB") if convert_method is None else convert_method(upright)


def _decoded(source: object, name: object) -> Image.Image:
    try:
        with Image.open(source) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError) as error:
        raise InputError("This is not a picture, or a damaged one.", where=name, problems=[str(error)]) from error


def _download(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": f"ppdiffusers/{__version__}"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        raise SourceError(
            "The server did not send this picture.", where=url, problems=[f"{error.code} {error.reason}"]
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise SourceError(
            "This address could not be reached.",
            where=url,
            problems=[str(getattr(error, "reason", error))],
            remedy="check the address and the network, or download the picture and give its path",
        ) from error
