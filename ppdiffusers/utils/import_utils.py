"""Whether optional packages are installed."""

from __future__ import annotations

import functools

from ppdiffusers.core.errors import MissingDependencyError
from ppdiffusers.core.extras import available

# name in `is_<name>_available` -> module that the package provides
PACKAGES: dict[str, str] = {
    "accelerate": "accelerate",
    "bs4": "bs4",
    "einops": "einops",
    "fastdeploy": "fastdeploy",
    "ftfy": "ftfy",
    "imageio": "imageio",
    "invisible_watermark": "imwatermark",
    "k_diffusion": "k_diffusion",
    "librosa": "librosa",
    "matplotlib": "matplotlib",
    "note_seq": "note_seq",
    "omegaconf": "omegaconf",
    "onnx": "onnxruntime",
    "opencv": "cv2",
    "paddle": "paddle",
    "paddlenlp": "paddlenlp",
    "paddlesde": "paddlesde",
    "peft": "peft",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
    "tensorboard": "tensorboard",
    "torch": "torch",
    "torchsde": "torchsde",
    "transformers": "transformers",
    "visualdl": "visualdl",
    "wandb": "wandb",
    "xformers": "xformers",
}
# packages that diffusers and ppdiffusers 0.29 can use: Paddle has its own kernels, and images get no watermark
NOT_USED = ("flax", "pp_invisible_watermark", "ppxformers", "torch_npu", "torch_xla")

_CHECKS = {f"is_{name}_available": module for name, module in PACKAGES.items()}
_VERSIONS = {f"is_{name}_version": module for name, module in PACKAGES.items()}
_NEVER = frozenset(f"is_{name}_available" for name in NOT_USED)

__all__ = ["requires_backends", *sorted({*_CHECKS, *_VERSIONS, *_NEVER})]


def __getattr__(name: str) -> object:
    """`is_<package>_available()` and `is_<package>_version(operation, version)`."""
    if name in _CHECKS:
        return functools.partial(available, _CHECKS[name])
    if name in _VERSIONS:
        return functools.partial(_compare, _VERSIONS[name])
    if name in _NEVER:
        return _not_used
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _compare(package: str, operation: str, version: str) -> bool:
    from ppdiffusers.utils.versions import compare_versions  # imports `packaging`, which `import ppdiffusers` avoids

    return available(package) and compare_versions(package, operation, version)


def _not_used() -> bool:
    return False


def requires_backends(obj: object, backends: str | list[str] | tuple[str, ...]) -> None:
    """Check that an object's optional packages are installed.

    Raises:
        MissingDependencyError: some are not; all of them are listed.
    """
    names = [backends] if isinstance(backends, str) else list(backends)
    missing = [name for name in names if name in NOT_USED or not available(PACKAGES.get(name, name))]
    if missing:
        owner = getattr(obj, "__name__", type(obj).__name__)
        raise MissingDependencyError(
            f"{owner} requires packages that are not installed.",
            problems=missing,
            remedy=f"pip install {' '.join(missing)}",
        )
