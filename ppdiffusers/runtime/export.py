"""Programs for deployment: a folder for each network, which Paddle Inference runs without any model code.

A run of the pipeline determines what is exported: each network is traced with the arguments of its first call, and
the program's result is compared with eager mode before the folder is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import paddle
from paddle import nn

from ppdiffusers.core.errors import ConversionError, InputError, SourceError
from ppdiffusers.core.files import replace_folder
from ppdiffusers.runtime.compiling import decompile
from ppdiffusers.runtime.engines import OneDnn
from ppdiffusers.runtime.engines.inference import InferenceRunner
from ppdiffusers.runtime.program import Example
from ppdiffusers.runtime.pytree import TreeSpec, UnsupportedLeafError, tree_flatten, tree_unflatten
from ppdiffusers.runtime.signature import compiled_methods, number_as_tensor
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.runtime.verify import TOLERANCE, distance


@dataclass
class _Call:
    """The first call of a method: its arguments and its result."""

    layer: nn.Layer
    method: str
    example: Example
    result: Any


class _Inputs(TypedDict):
    """The content of `inputs.json`: the arguments of a program, and name, shape and dtype of their tensors."""

    arguments: TreeSpec
    tensors: list[tuple[str, list[int], str]]


def export_programs(
    layers: Mapping[str, nn.Layer], run: Callable[[], Any], folder: str | os.PathLike
) -> dict[str, float]:
    """Write a program folder for each method of `layers` that `run()` calls.

    Args:
        layers: networks by the name of their component.
        run: calls the networks once, with the shapes of the programs.
        folder: the target; it is replaced if all programs agree with eager mode, and unchanged otherwise.

    Returns:
        The distance of each program from eager mode, relative to the largest value.

    Raises:
        InputError: `run` called none of the layers, or the name of the folder is not UTF-8.
        ConversionError: programs disagree with eager mode; all of them are listed.
    """
    try:
        os.fspath(folder).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "Paddle writes only to folders whose names are UTF-8.", where=ascii(os.fspath(folder))
        ) from None
    calls: dict[str, _Call] = {}
    with contextlib.ExitStack() as stack, paddle.no_grad():
        for name, layer in layers.items():
            stack.enter_context(_recorded(name, layer, calls))
        run()
    if not calls:
        raise InputError("The run called none of the networks.", problems=list(layers))
    found: dict[str, float] = {}
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
    """Record the first call of each compiled method of `layer` while the block runs."""
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
            with contextlib.suppress(UnsupportedLeafError):  # such a call cannot become a program
                arguments = tree_flatten(_numbers_as_tensors(args, kwargs), tensors)
                calls[name] = _Call(layer, method, Example(arguments, tensors), result)
        return result

    return call


def _numbers_as_tensors(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Convert numbers to tensors: in a deployed program all of them may change."""
    return tuple(map(number_as_tensor, args)), {name: number_as_tensor(value) for name, value in kwargs.items()}


def _program_name(name: str, method: str) -> str:
    return {"forward": name, "_encode_tile": f"{name}_encoder", "_decode_tile": f"{name}_decoder"}.get(
        method, f"{name}_{method}"
    )


def _export_one(call: _Call, folder: Path) -> float:
    folder.mkdir()
    example = call.example

    def method(*args: Any, **kwargs: Any) -> Any:
        return _without_classes(getattr(type(call.layer), call.method)(call.layer, *args, **kwargs))

    OneDnn("float32").write(folder, call.layer, method, example)
    tensors = [(tensor.name, list(tensor.shape), str(tensor.dtype)) for tensor in example.tensors]
    inputs: _Inputs = {"arguments": example.arguments, "tensors": tensors}
    (folder / "inputs.json").write_text(json.dumps(inputs), encoding="utf-8")
    result = ExportedProgram(folder).run(example.tensors)
    return distance(result, _without_classes(call.result))


def _without_classes(value: Any) -> Any:
    """Convert outputs to plain dictionaries, so that running a program does not import their classes."""
    if isinstance(value, dict):
        return {key: _without_classes(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_classes(item) for item in value]
    return value


class ExportedProgram:
    """A program that `ppdiffusers export` wrote. Running it needs Paddle, but no code of the network.

    Its arguments are those of the network, with the same shapes; outputs are dictionaries, lists and tensors.

    Args:
        folder: the folder of one program.
        dtype: "float32" or, if the processor supports it, "bfloat16".
        device: "cpu" or "gpu:0".
    """

    def __init__(self, folder: str | os.PathLike, dtype: str = "float32", device: str = "cpu"):
        folder = Path(folder)
        try:
            self._inputs: _Inputs = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
            self._result: TreeSpec = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SourceError(
                "The folder was not written by `ppdiffusers export`.",
                where=folder,
                problems=[str(error)],
                expected="inputs.json, result.json, program.json and program.pdiparams",
            ) from error
        self._runner = InferenceRunner(folder, dtype, get_num_threads(), device)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program.

        Raises:
            InputError: structure or shapes of the arguments differ from those that the program was exported with.
        """
        tensors: list[paddle.Tensor] = []
        arguments = json.loads(json.dumps(tree_flatten(_numbers_as_tensors(args, kwargs), tensors)))
        shapes = [list(tensor.shape) for tensor in tensors]
        expected = [shape for _, shape, _ in self._inputs["tensors"]]
        if arguments != self._inputs["arguments"] or shapes != expected:
            raise InputError(
                "The program was exported for other arguments.",
                problems=[f"given: {arguments} of shapes {shapes}"],
                expected=f"{self._inputs['arguments']} of shapes {expected}",
            )
        return self.run(tensors)

    def run(self, tensors: list[paddle.Tensor]) -> Any:
        """Run the program with its tensors in order."""
        return tree_unflatten(self._result, self._runner(tensors))
