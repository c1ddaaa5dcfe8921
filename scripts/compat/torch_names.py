"""`torch`, `diffusers` and `transformers` as names of Paddle and ppdiffusers, for scripts that are written for PyTorch.

`torch` is Paddle's own proxy (`paddle.compat.enable_torch_proxy`); what it lacks and community pipelines use is added.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.util
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

_ALIASES = {"diffusers": "ppdiffusers", "transformers": "ppdiffusers.transformers"}


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `diffusers.x` as `ppdiffusers.x`."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, dot, rest = name.partition(".")
        if package not in _ALIASES:
            return None
        original = f"{_ALIASES[package]}{dot}{rest}"
        if importlib.util.find_spec(original) is None:
            return None
        return importlib.util.spec_from_loader(name, self, origin=original)

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(str(spec.origin))
        self._own = (module, module.__spec__)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._own[1]


def provide() -> None:
    """Make the three names importable."""
    import paddle

    paddle.compat.enable_torch_proxy()
    sys.meta_path.insert(0, _Alias())
    import torch

    _add_to(torch, paddle)


def _add_to(torch: Any, paddle: Any) -> None:
    """Add what the proxy lacks; the originals of replaced functions are called with PyTorch's arguments renamed."""
    tensor = paddle.Tensor

    def without(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **{key: value for key, value in kwargs.items() if key not in names})

        return functools.wraps(function)(call)

    def reduce(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, dim: Any = None, **kwargs: Any) -> Any:
            return function(*args, **({} if dim is None else {"axis": dim}), **kwargs)

        return functools.wraps(function)(call)

    added = {
        "device": lambda name, index=None: str(name).replace("cuda", "cpu"),
        "inference_mode": paddle.no_grad,
        "compile": lambda layer, **options: layer,  # networks are compiled by ppdiffusers itself
        "layout": object,
        "strided": None,
        "randn": without(paddle.randn, "generator", "layout"),
        "rand": without(paddle.rand, "generator", "layout"),
        "std": reduce(paddle.std),
        "var_mean": lambda x, dim=None, keepdim=False, correction=1: (
            paddle.var(x, dim, unbiased=correction == 1, keepdim=keepdim),
            paddle.mean(x, dim, keepdim=keepdim),
        ),
        "max": paddle.compat.max,
        "min": paddle.compat.min,
        "backends": types.SimpleNamespace(
            mps=types.SimpleNamespace(is_available=lambda: False),
            cuda=types.SimpleNamespace(matmul=types.SimpleNamespace(), is_built=lambda: False),
            cudnn=types.SimpleNamespace(),
        ),
    }
    for name, value in added.items():  # ppdiffusers itself uses Paddle's `device`, `max` and `min`
        setattr(torch, name, value)
    paddle.nn.LayerNorm.normalized_shape = property(lambda layer: layer._normalized_shape)
    tensor.std, tensor.var = reduce(tensor.std), reduce(tensor.var)
    tensor.type = lambda self, dtype=None: str(self.dtype) if dtype is None else self.astype(dtype)
