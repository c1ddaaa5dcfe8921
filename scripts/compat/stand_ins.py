"""Run one script as it is: images from the network are local ones, and packages that only scripts use are replaced.

    python scripts/compat/stand_ins.py [--torch] [--quick] script.py

The working directory has a folder for each name of a model. With --torch, `torch`, `diffusers` and `transformers` are
Paddle and ppdiffusers (torch_names.py).
"""

from __future__ import annotations

import functools
import importlib.util
import io
import runpy
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import requests

SIZE = 512  # pixels of the images that scripts download


def image_for(url: str) -> PIL.Image.Image:
    """An image, or a mask with a square if the address says so."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    if "mask" in url.lower():
        inside = (abs(x - SIZE // 2) < SIZE // 4) & (abs(y - SIZE // 2) < SIZE // 4)
        return PIL.Image.fromarray((inside * 255).astype(np.uint8), "L")
    waves = 127 * (1 + np.sin(x[..., None] / [9, 23, 51] + y[..., None] / [37, 11, 29]))
    return PIL.Image.fromarray(waves.astype(np.uint8))


class Response(requests.Response):
    """The response to a request for an image."""

    def __init__(self, url: str):
        super().__init__()
        content = io.BytesIO()
        image_for(url).save(content, "PNG")
        self.status_code, self.url, self._content = 200, url, content.getvalue()
        self.raw = io.BytesIO(self._content)
        self.headers["Content-Type"] = "image/png"


def module(name: str, **members: Any) -> types.ModuleType:
    """A module with these members, importable by its name and that of its packages."""
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
    package, _, last = name.rpartition(".")
    if package:
        setattr(sys.modules.get(package) or module(package), last, made)
    return made


def replace_network() -> None:
    """Answer every request with an image."""
    requests.Session.request = lambda self, method, url, *args, **kwargs: Response(url)
    requests.get = lambda url, *args, **kwargs: Response(url)
    urllib.request.urlopen = lambda request, *args, **kwargs: Response(getattr(request, "full_url", request)).raw


def replace_packages() -> None:
    """Provide the functions of paddlenlp, OpenCV and IPython that the scripts use, where these are not installed."""
    import paddle

    import ppdiffusers.transformers
    from ppdiffusers.utils.canny import canny_with_numpy

    if importlib.util.find_spec("paddlenlp") is None:
        module("paddlenlp.trainer", set_seed=paddle.seed)
        sys.modules["paddlenlp.transformers"] = ppdiffusers.transformers
        sys.modules["paddlenlp"].transformers = ppdiffusers.transformers
        module("paddlenlp.utils.log", logger=ppdiffusers.logging.get_logger("paddlenlp"))
    if importlib.util.find_spec("cv2") is None:
        module("cv2", Canny=lambda image, low, high: canny_with_numpy(np.atleast_3d(image), low, high))
    if importlib.util.find_spec("IPython") is None:
        module("IPython.display", Audio=lambda *args, **kwargs: None, display=lambda *args: None)


def limit_steps(most: int = 4) -> None:
    """Let schedulers make at most this many steps; the rest of a script is the same."""
    from ppdiffusers import registry

    for entry in registry.entries("scheduler"):
        scheduler = entry.load()
        original = scheduler.set_timesteps

        def limited(self: Any, steps: int | None = None, *args: Any, _original: Any = original, **kwargs: Any) -> None:
            steps = kwargs.pop("num_inference_steps", steps)
            _original(self, None if steps is None else min(steps, most), *args, **kwargs)

        scheduler.set_timesteps = functools.wraps(original)(limited)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    replace_network()
    if "--torch" in arguments:
        import torch_names

        torch_names.provide()
    replace_packages()
    if "--quick" in arguments:
        limit_steps()
    arguments = [argument for argument in arguments if argument not in ("--torch", "--quick")]
    script = Path(arguments[0]).resolve()
    sys.argv = [str(script), *arguments[1:]]
    sys.path[0] = str(script.parent)
    runpy.run_path(str(script), run_name="__main__")
