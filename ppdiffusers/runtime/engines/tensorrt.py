"""TensorRT through Paddle's converter: subgraphs of a Paddle program become TensorRT engines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppdiffusers.runtime.engines.inference import MODEL

_PRECISIONS = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}


def convert_program(folder: Path, inputs: Sequence[tuple[list[int], str]], dtype: str, target: Path) -> None:
    """Convert the program in `folder` for these inputs, each a shape and a dtype, and write it to `target`.

    Shapes are fixed: each signature of arguments has its own program.
    """
    from paddle.tensorrt import Input, PrecisionMode, TensorRTConfig, convert

    specs = [
        Input(
            min_input_shape=tuple(shape),
            optim_input_shape=tuple(shape),
            max_input_shape=tuple(shape),
            input_data_type=kind,
            name=f"input_{number}",
        )
        for number, (shape, kind) in enumerate(inputs)
    ]
    config = TensorRTConfig(inputs=specs)
    config.precision_mode = getattr(PrecisionMode, _PRECISIONS[dtype])
    stem = MODEL.removesuffix(".json")
    config.save_model_dir = str(target / stem)
    convert(str(folder / stem), config)
