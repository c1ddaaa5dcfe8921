"""Load images from files and URLs."""

from __future__ import annotations

import http.client
import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable

from PIL import Image, ImageOps, UnidentifiedImageError

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.core.files import expand_user
from ppdiffusers.version import __version__

LARGEST = 1 << 30  # bytes of a file that is read into memory
TIMEOUT = 60  # seconds without data after which a connection is closed


def load_image(
    image: str | os.PathLike | Image.Image, convert_method: Callable[[Image.Image], Image.Image] | None = None
) -> Image.Image:
    """Load an image in RGB, rotated upright by its EXIF orientation.

    Args:
        image: a path, a URL that starts with "http://" or "https://", or an image.
        convert_method: replaces `.convert("RGB")`, for example to keep the alpha channel.

    Raises:
        SourceError: the path or URL does not exist.
        InputError: the data are not an image.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        opened = _decoded(io.BytesIO(download(image)), image)
    elif isinstance(image, str | os.PathLike):
        if not expand_user(image).is_file():
            raise SourceError(
                "The image file does not exist.",
                where=image,
                expected="the path of a file, or a URL that starts with http:// or https://",
            )
        opened = _decoded(expand_user(image), image)
    elif isinstance(image, Image.Image):
        opened = image
    else:
        raise InputError(
            "This is not an image.", where=repr(type(image)), expected="a path, a URL, or a PIL.Image.Image"
        )
    upright = ImageOps.exif_transpose(opened)
    return upright.convert("RGB") if convert_method is None else convert_method(upright)


def _decoded(source: str | os.PathLike | io.BytesIO, name: object) -> Image.Image:
    try:
        with Image.open(source) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError) as error:
        raise InputError("This is not an image, or it is damaged.", where=name, problems=[str(error)]) from error


def download(url: str) -> bytes:
    """Download a small file into memory.

    Raises:
        SourceError: the address is invalid, the server does not send the file, or it is larger than `LARGEST`.
    """
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"ppdiffusers/{__version__}"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        raise SourceError(
            "The server did not send the file.", where=url, problems=[f"{error.code} {error.reason}"]
        ) from error
    except (http.client.InvalidURL, ValueError):  # their messages contain passwords and queries
        raise SourceError(
            "This is not a valid address.",
            where=url,
            expected="https://host/path, without a user name, spaces or control characters",
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise SourceError(
            "The URL could not be reached.",
            where=url,
            problems=[str(getattr(error, "reason", error))],
            remedy="check the URL and the network, or download the file and pass its path.",
        ) from error
    if len(content) > LARGEST:
        raise SourceError(f"The file is larger than {LARGEST} bytes.", where=url)
    return content
