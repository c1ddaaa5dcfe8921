"""Plug-in of pytest for the tests of ppdiffusers 0.29, and the tiny models that these tests name.

python -m old_tests_plugin            # write the models to the working directory
pytest -p old_tests_plugin tests      # a test that uses a class which does not exist here is skipped
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import models
import paddle
import pytest
import stand_ins
from imports import imported, resolves
from tiny import alt_diffusion, ddpm, parts, stable_diffusion

import ppdiffusers
from ppdiffusers import TorchGenerator

# -- models -----------------------------------------------------------------------------------------------------------


def _tokenizer(folder: Path) -> None:
    parts.tokenizer().save_pretrained(folder)


def _xlm_roberta(folder: Path) -> None:
    alt_diffusion.tokenizer().save_pretrained(folder)


def _with_lms(folder: Path) -> None:
    stable_diffusion.make(folder)
    ppdiffusers.LMSDiscreteScheduler().save_pretrained(folder / "scheduler")


def _network(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        parts.seed()
        getattr(ppdiffusers, kind)().save_pretrained(folder)

    return make


TEST_MODELS: dict[str, Callable[[Path], Any]] = {
    "fusing/autoencoder-kl-dummy": _network("AutoencoderKL"),
    "fusing/vqgan-dummy": _network("VQModel"),
    "google/ddpm-cifar10-32": ddpm.make,
    "hf-internal-testing/tiny-random-clip": _tokenizer,
    "hf-internal-testing/tiny-stable-diffusion-lms-pipe": _with_lms,
    "hf-internal-testing/tiny-stable-diffusion-pipe": stable_diffusion.make,
    "hf-internal-testing/tiny-stable-diffusion-torch": stable_diffusion.make,
    "hf-internal-testing/tiny-xlm-roberta": _xlm_roberta,
}


# -- missing classes --------------------------------------------------------------------------------------------------


class _Missing(type):
    """Type of a class that does not exist here: its use skips the test."""

    def __getattribute__(cls, name: str) -> Any:
        if name.startswith("__") and name != "__call__":
            return super().__getattribute__(name)
        pytest.skip(f"is missing: {cls.__name__}")

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        pytest.skip(f"is missing: {cls.__name__}")


def _provide_missing(tests: Path) -> None:
    """Let the imports of all test modules succeed."""
    for file in sorted(tests.rglob("*.py")):
        for module, name in imported(file):
            for used in _block_classes(file) if name == "*" else [name]:
                if not resolves(module, used):
                    found = sys.modules.get(module) or _module(module)
                    setattr(found, used, _Missing(used, (), {}))
                    if name == "*":
                        found.__all__ = [*found.__all__, used]


def _block_classes(file: Path) -> list[str]:
    """Names that the tests of a file assign to `block_class`."""
    assigned = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Assign)]
    return [node.value.id for node in assigned if getattr(node.targets[0], "id", None) == "block_class"]


def _module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        return stand_ins.module(name)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Skip all tests of a class that does not exist here: their inputs may need other missing parts."""
    for item in items:
        for role in ("pipeline_class", "model_class", "block_class"):
            found = getattr(getattr(item, "cls", None), role, None)
            if isinstance(found, _Missing):
                item.add_marker(pytest.mark.skip(f"is missing: {found.__name__}"))


# -- packages of the tests --------------------------------------------------------------------------------------------


class _Parameterized:
    """The part of the package `parameterized` that the tests use."""

    @staticmethod
    def expand(cases: Sequence[Any]) -> Callable[[Callable], None]:
        members = inspect.currentframe().f_back.f_locals  # those of the class of the test

        def decorate(function: Callable) -> None:
            for number, case in enumerate(cases):
                values = tuple(case) if isinstance(case, (list, tuple)) else (case,)
                members[f"{function.__name__}_{number}"] = lambda self, values=values: function(self, *values)

        return decorate


# -- noise of a GPU ---------------------------------------------------------------------------------------------------


def _use_gpu_noise() -> None:
    """Replace the generators of Paddle, and with them the noise and the initial weights."""
    current = TorchGenerator(0, "cuda")

    def draw(kind: str, shape: Sequence[int], dtype: Any = None) -> paddle.Tensor:
        name = "float32" if dtype is None else str(dtype).rpartition(".")[2].lower()
        return paddle.to_tensor(getattr(current, kind)([int(size) for size in shape], "float32")).astype(name)

    def uniform(shape: Any, dtype: Any, low: float, high: float, seed: int, place: object) -> paddle.Tensor:
        return draw("rand", shape).scale(high - low, low)

    def gaussian(shape: Any, mean: float, std: float, seed: int, dtype: Any, place: object) -> paddle.Tensor:
        return draw("randn", shape).scale(std, mean)

    paddle.Generator = lambda *place: TorchGenerator(0, "cuda")
    paddle.seed = current.manual_seed
    paddle.randn = lambda shape, dtype=None, name=None: draw("randn", shape, dtype)
    paddle.rand = lambda shape, dtype=None, name=None: draw("rand", shape, dtype)
    paddle.randn_like = lambda x, dtype=None: draw("randn", x.shape, dtype or x.dtype)
    for operators in (paddle._C_ops, importlib.import_module("paddle.nn.initializer.uniform")._C_ops):
        operators.uniform, operators.gaussian = uniform, gaussian


def pytest_configure() -> None:
    if os.environ.get("GPU_NOISE"):
        _use_gpu_noise()
    if importlib.util.find_spec("parameterized") is None:
        stand_ins.module("parameterized", parameterized=_Parameterized)
    if importlib.util.find_spec("requests_mock") is None:
        stand_ins.module("requests_mock")
    stand_ins.replace_packages()
    _provide_missing(Path("tests"))


if __name__ == "__main__":
    for name, make in TEST_MODELS.items():
        models.MODELS[name] = make
        models.make(name, Path.cwd())
