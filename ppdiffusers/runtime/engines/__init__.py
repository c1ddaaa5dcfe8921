"""Engines: each writes compiled programs to a folder, loads them from there and runs them."""

from __future__ import annotations

import json
import platform
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.extras import available, need
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.runtime.turns import network_turn
from ppdiffusers.utils.dtypes import as_dtype_name
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.runtime.program import Example, Traced

logger = get_logger(__name__)

# Paddle traces into one program that the whole process has.
_tracing = threading.Lock()

Runner = Callable[[Sequence[paddle.Tensor]], list[paddle.Tensor]]


class Engine:
    """Base of the engines.

    Attributes:
        fused_attention: whether attention is traced without slices, because the engine has one operation for it.
        constant_filters: whether weights of convolutions have to be the same in all calls.
        on_gpu: whether the weights are on a GPU.
        dtypes: the precisions that it can compute in.
    """

    name = ""
    fused_attention = False
    constant_filters = False
    on_gpu = False
    dtypes: tuple[str, ...] = ("float32", "bfloat16")

    def __init__(self, dtype: str, device: str = "cpu"):
        if dtype not in self.dtypes:
            raise InputError(f"The {self.name} engine cannot compute in {dtype}.", expected=" or ".join(self.dtypes))
        if dtype != "float32" and not self.supports(dtype):
            logger.warning("The processor does not support %s: the program computes in float32.", dtype)
            dtype = "float32"
        self.dtype, self.device = dtype, device

    def supports(self, dtype: str) -> bool:
        """Return whether this machine has instructions for `dtype`."""
        return True

    def identity(self) -> list[str]:
        """Return everything that a program of this engine depends on in addition to the network."""
        return [self.name, self.dtype, self.device, platform.machine()]

    def write(self, folder: Path, layer: nn.Layer, method: Callable, example: Example) -> None:
        """Trace `method` of `layer` and write the program."""
        from ppdiffusers.runtime.program import trace

        with network_turn(layer), _tracing:
            traced = trace(layer, method, example, self.fused_attention, self.constant_filters)
            self.write_traced(traced, folder)
        (folder / "result.json").write_text(json.dumps(traced.result), encoding="utf-8")

    def write_traced(self, traced: Traced, folder: Path) -> None:
        """Write a traced program in the engine's format."""
        raise AssertionError("each engine overrides this")

    def load(self, folder: Path, weights: Mapping[str, np.ndarray] | None) -> Runner:
        """Load a program; `weights` are those of the mapped file, None on a GPU."""
        raise AssertionError("each engine overrides this")


class OpenVino(Engine):
    """OpenVINO on a CPU; the program on disk is a graph without weights, which are those of the mapped file."""

    name = "openvino"
    fused_attention = True

    def __init__(self, dtype: str, device: str = "cpu"):
        need("openvino", "for the backend 'openvino'")
        super().__init__(dtype, device)

    def supports(self, dtype: str) -> bool:
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def identity(self) -> list[str]:
        return [*super().identity(), version("openvino")]

    def write_traced(self, traced: Traced, folder: Path) -> None:
        (folder / "graph.json").write_text(traced.graph.to_json(), encoding="utf-8")

    def load(self, folder: Path, weights: Mapping[str, np.ndarray] | None) -> Runner:
        from ppdiffusers.runtime.engines.openvino import OpenVinoRunner
        from ppdiffusers.runtime.graph import Graph

        graph = Graph.from_json((folder / "graph.json").read_text(encoding="utf-8"))
        return OpenVinoRunner(graph, weights, self.dtype, get_num_threads())


class OneDnn(Engine):
    """Paddle Inference with oneDNN on a CPU."""

    name = "onednn"
    constant_filters = True  # oneDNN stores the rearranged weight of a convolution's first call

    def supports(self, dtype: str) -> bool:
        from paddle.base import core

        return core.supports_bfloat16()

    def write_traced(self, traced: Traced, folder: Path) -> None:
        from ppdiffusers.runtime.engines.inference import save_program

        save_program(traced, folder)

    def load(self, folder: Path, weights: Mapping[str, np.ndarray] | None) -> Runner:
        from ppdiffusers.runtime.engines.inference import InferenceRunner

        return InferenceRunner(folder, self.dtype, get_num_threads(), self.device)


class Gpu(OneDnn):
    """Paddle Inference on a GPU."""

    name = "gpu"
    constant_filters = False
    on_gpu = True
    dtypes = ("float32", "float16", "bfloat16")

    def supports(self, dtype: str) -> bool:
        return True


class Cinn(Gpu):
    """Paddle Inference on a GPU, with programs compiled by Paddle's compiler CINN."""

    name = "cinn"

    def load(self, folder: Path, weights: Mapping[str, np.ndarray] | None) -> Runner:
        from ppdiffusers.runtime.engines.inference import InferenceRunner

        return InferenceRunner(folder, self.dtype, get_num_threads(), self.device, cinn=True)


class TensorRt(Gpu):
    """Paddle Inference on a GPU, with TensorRT for the parts of a program that it supports."""

    name = "tensorrt"

    def __init__(self, dtype: str, device: str = "cpu"):
        need("tensorrt", "for the backend 'tensorrt'")
        super().__init__(dtype, device)

    def identity(self) -> list[str]:
        return [*super().identity(), version("tensorrt")]

    def write_traced(self, traced: Traced, folder: Path) -> None:
        from ppdiffusers.runtime.engines.tensorrt import convert_program

        inputs = [traced.graph.types[value] for value in traced.graph.inputs]
        with tempfile.TemporaryDirectory() as plain:
            super().write_traced(traced, Path(plain))
            convert_program(Path(plain), inputs, self.dtype, folder)


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (OpenVino, OneDnn, Gpu, Cinn, TensorRt)}


def choose_engine(backend: str | None, dtype: str | paddle.dtype | None, device: str) -> Engine:
    """Return the engine of that name, by default the fastest one that is installed for the device.

    Raises:
        InputError: the engine is unknown, is for other devices, or cannot compute in `dtype`.
        MissingDependencyError: its package is not installed.
    """
    if backend is None:
        backend = "gpu" if device != "cpu" else "openvino" if available("openvino") else "onednn"
    if backend not in ENGINES:
        raise InputError(f"Unknown backend {backend!r}.", expected=f"None or one of {', '.join(ENGINES)}")
    engine = ENGINES[backend]
    if engine.on_gpu != (device != "cpu"):
        raise InputError(f"The backend {backend!r} cannot run a network on {device}.")
    return engine("float32" if dtype is None else as_dtype_name(dtype), device)
