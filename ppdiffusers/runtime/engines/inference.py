"""Paddle Inference, with oneDNN on a CPU or on a GPU; it needs no package in addition to Paddle.

oneDNN keeps what it prepared for a program under the number of the thread, and the system gives this number to another
thread later: a program that is called from several threads raises an error or returns another program's result.
Therefore one thread for each device loads, runs and frees all programs.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import paddle

from ppdiffusers.runtime.worker import Worker

if TYPE_CHECKING:
    from paddle.inference import Predictor

    from ppdiffusers.runtime.program import Traced

MODEL, WEIGHTS = "program.json", "program.pdiparams"


@functools.cache
def _worker(device: str) -> Worker:
    return Worker()


# a child process has no threads but the one that made it
os.register_at_fork(after_in_child=_worker.cache_clear)


def save_program(traced: Traced, folder: Path) -> None:
    """Write a traced program with its weights in the format of Paddle Inference."""
    # pruning raises an error for inputs that are not used
    paddle.jit.save(traced.static, str(folder / "program"), skip_prune_program=True)


class InferenceRunner:
    """A program folder, run by Paddle Inference.

    Args:
        threads: the number of threads on a CPU.
        cinn: on a GPU, compile kernels with Paddle's compiler.
    """

    def __init__(self, folder: Path, dtype: str, threads: int, device: str = "cpu", cinn: bool = False):
        self._device = device
        # in a list, so that the thread that runs the program can drop the last reference to it
        self._predictors = [_worker(device).run(lambda: _load(folder, dtype, threads, device, cinn))]
        weakref.finalize(self, _worker(device).run_later, self._predictors.clear).atexit = False

    def __call__(self, tensors: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        inputs = [tensor.contiguous() for tensor in tensors]
        return _worker(self._device).run(lambda: self._run(inputs))

    @paddle.no_grad()
    def _run(self, inputs: list[paddle.Tensor]) -> list[paddle.Tensor]:
        # copies, because the next run writes its results to the same memory
        return [result.clone() for result in self._predictors[0].run(inputs)]


def _load(folder: Path, dtype: str, threads: int, device: str, cinn: bool) -> Predictor:
    from paddle import inference

    config = inference.Config(str(folder / MODEL), str(folder / WEIGHTS))
    config.disable_glog_info()
    if device == "cpu":
        config.enable_onednn()
        config.set_cpu_math_library_num_threads(threads)
        if dtype == "bfloat16":
            config.enable_onednn_bfloat16()
    else:
        precision = {"float32": "Float32", "bfloat16": "Bfloat16", "float16": "Half"}[dtype]
        number = int(device.partition(":")[2] or 0)
        config.enable_use_gpu(256, number, getattr(inference.PrecisionType, precision))
        if cinn:
            config.enable_cinn()
    return inference.create_predictor(config)
