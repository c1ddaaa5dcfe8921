"""Paddle Inference, with oneDNN on a CPU or on a GPU; it needs no package in addition to Paddle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import paddle

if TYPE_CHECKING:
    from ppdiffusers.runtime.program import Traced

MODEL, WEIGHTS = "program.json", "program.pdiparams"


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
        self._predictor = inference.create_predictor(config)

    def __call__(self, tensors: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        # copies, because the next run writes its results to the same memory
        return [result.clone() for result in self._predictor.run([tensor.contiguous() for tensor in tensors])]
