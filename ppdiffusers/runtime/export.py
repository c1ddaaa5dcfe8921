"""Programs for deployment: a folder for each network that Paddle Inference runs without any model code.

What is written is what a run of the pipeline used: each network is recorded with the arguments of its first call,
traced for their shapes, run, and compared with eager mode before anything is called done.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import ConversionError, InputError, SourceError
from ppdiffusers.core.files import replace_folder
from ppdiffusers.runtime.compiling import decompile
from ppdiffusers.runtime.engines import OneDnn
from ppdiffusers.runtime.engines.inference import InferenceRunner
from ppdiffusers.runtime.structure import NotPlain, compiled_methods, flatten, number_as_tensor, rebuild
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.runtime.verify import TOLERANCE, distance


@dataclass
class _Call:
    """The first call of a method: what went in and what came out."""

    layer: nn.Layer
    method: str
    template: list
    tensors: list[paddle.Tensor]
    result: Any


def export_programs(layers: Mapping[str, nn.Layer], run: Callable[[], Any], folder: str | os.PathLike) -> dict:
    """Write a program folder for each method of `layers` that `run()` calls.

    Args:
        layers: networks by the name of their component.
        run: uses them once, for the shapes that the programs are to have.
        folder: where to; it is replaced when everything agrees, and left alone otherwise.

    Returns:
        name of each program -> its distance from eager mode, as a share of the largest value.

    Raises:
        InputError: `run` called none of the layers.
        ConversionError: programs that disagree with eager mode; all of them are listed.
    """
    calls: dict[str, _Call] = {}
    with contextlib.ExitStack() as stack, paddle.no_grad():
        for name, layer in layers.items():
            stack.enter_context(_recorded(name, layer, calls))
        run()
    if not calls:
        raise InputError("The run called none of the networks.", problems=list(layers))
    found = {}
    with replace_folder(folder) as staging, paddle.no_grad():
        for name, call in calls.items():
            found[name] = _export_one(call, staging / name)
        wrong = [f"{name}: {distance:.1e}" for name, distance in found.items() if not distance <= TOLERANCE["float32"]]
        if wrong:
            raise ConversionError(
                "Programs disagree with eager mode; nothing was written.",
                where=folder,
                problems=wrong,
                expected=f"at most {TOLERANCE['float32']:.0e} of the largest value",
            )
    return found


@contextlib.contextmanager
def _recorded(name: str, layer: nn.Layer, calls: dict[str, _Call]) -> Iterator[None]:
    """While this lasts, the first call of each compiled method of `layer` is noted."""
    decompile(layer)
    methods = compiled_methods(layer)
    for method in methods:
        object.__setattr__(layer, method, _recorder(_program_name(name, method), layer, method, calls))
    try:
        yield
    finally:
        for method in methods:
            object.__delattr__(layer, method)


def _recorder(name: str, layer: nn.Layer, method: str, calls: dict[str, _Call]) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = getattr(type(layer), method)(layer, *args, **kwargs)
        if name not in calls:
            tensors: list[paddle.Tensor] = []
            with contextlib.suppress(NotPlain):  # such a call cannot be part of a program
                calls[name] = _Call(layer, method, flatten(_with_tensors(args, kwargs), tensors), tensors, result)
        return result

    return call


def _with_tensors(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Numbers become tensors: in a deployed program all of them may change."""
    return tuple(map(number_as_tensor, args)), {name: number_as_tensor(value) for name, value in kwargs.items()}


def _program_name(name: str, method: str) -> str:
    return {"forward": name, "_encode_tile": f"{name}_encoder", "_decode_tile": f"{name}_decoder"}.get(
        method, f"{name}_{method}"
    )


def _export_one(call: _Call, folder: Path) -> float:
    folder.mkdir()

    def method(*args: Any, **kwargs: Any) -> Any:
        return _without_classes(getattr(type(call.layer), call.method)(call.layer, *args, **kwargs))

    engine = OneDnn("float32")
    engine.write(folder, call.layer, method, call.template, call.tensors)
    form = [[tensor.name, list(tensor.shape), str(tensor.dtype)] for tensor in call.tensors]
    (folder / "inputs.json").write_text(json.dumps({"template": call.template, "tensors": form}), encoding="utf-8")
    result = ExportedProgram(folder).run(call.tensors)
    return distance(result, _without_classes(call.result))


def _without_classes(value: Any) -> Any:
    """Outputs as plain dictionaries: whoever runs the program need not have their classes."""
    if isinstance(value, dict):
        return {key: _without_classes(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_classes(item) for item in value]
    return value


class ExportedProgram:
    """Runs an exported folder: needs Paddle, and no code of the network.

    Called with the network's arguments of the same shapes; outputs come as dictionaries, lists and tensors.

    Args:
        folder: one program's folder.
        dtype: "float32" or, where the processor has it, "bfloat16".
        device: "cpu" or "gpu:0".
    """

    def __init__(self, folder: str | os.PathLike, dtype: str = "float32", device: str = "cpu"):
        folder = Path(folder)
        try:
            self._inputs = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
            self._result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SourceError(
                "This is no folder that `ppdiffusers export` wrote.",
                where=folder,
                problems=[str(error)],
                expected="inputs.json, result.json, program.json and program.pdiparams",
            ) from error
        self._runner = InferenceRunner(folder, dtype, get_num_threads(), device)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it.

        Raises:
            InputError: the arguments have another form than those it was made for.
        """
        tensors: list[paddle.Tensor] = []
        template = json.loads(json.dumps(flatten(_with_tensors(args, kwargs), tensors)))
        shapes = [list(tensor.shape) for tensor in tensors]
        wanted = [shape for _, shape, _ in self._inputs["tensors"]]
        if template != self._inputs["template"] or shapes != wanted:
            raise InputError(
                "The program was made for other arguments.",
                problems=[f"given: {template} of shapes {shapes}"],
                expected=f"{self._inputs['template']} of shapes {wanted}",
            )
        return self.run(tensors)

    def run(self, tensors: list[paddle.Tensor]) -> Any:
        """Run it with its tensors in order."""
        return rebuild(self._result, self._runner(tensors))
