"""Import optional packages on demand, with an error that names the install command."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ppdiffusers.core.errors import MissingDependencyError

# What to install if the importable name is not the name on the package registry.
_INSTALL_AS = {
    "paddle": "paddlepaddle",
    "paddlenlp": "'ppdiffusers[paddlenlp]'",
    "torch": "'ppdiffusers[verify]'",
    "diffusers": "'ppdiffusers[verify]'",
    "transformers": "'ppdiffusers[verify]'",
    "openvino": "'ppdiffusers[cpu]'",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "imwatermark": "invisible-watermark",
}


def available(name: str) -> bool:
    """Return whether the package `name` is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def need(name: str, why: str) -> ModuleType:
    """Import the optional module `name` and return it.

    Args:
        name: the importable name, such as `"torch"` or `"scipy.integrate"`.
        why: the end of the sentence "`name` is needed ...", such as `"to verify a conversion"`.

    Raises:
        MissingDependencyError: it is not installed; the message has the install command.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if error.name is not None and error.name.split(".")[0] != package:
            raise  # the package is installed, and one of its own dependencies is missing
        raise MissingDependencyError(
            f"The package `{package}` is needed {why}, and it is not installed.",
            remedy=f"pip install {_INSTALL_AS.get(package, package)}",
        ) from error
