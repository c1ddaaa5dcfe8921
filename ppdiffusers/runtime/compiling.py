"""Compile networks: the same calls with the same results, run by an engine that is faster than Paddle's own kernels.

`compile(layer)` changes the layer in place: its `forward` (in an autoencoder, the methods that encode and decode a
tile) becomes a `CompiledMethod`, which compiles one program for each signature of arguments.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import ConversionError, InputError, PPDiffusersError
from ppdiffusers.core.files import use_while_alive
from ppdiffusers.runtime import cache
from ppdiffusers.runtime.engines import Engine, choose_engine
from ppdiffusers.runtime.memory import free_memory_released
from ppdiffusers.runtime.program import Example
from ppdiffusers.runtime.pytree import UnsupportedLeafError, tree_flatten, tree_unflatten
from ppdiffusers.runtime.signature import compiled_methods, numbers_as_inputs, signature
from ppdiffusers.runtime.snapshot import LayerSnapshot
from ppdiffusers.runtime.state import collect_state
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.runtime.turns import network_turn
from ppdiffusers.runtime.verify import TOLERANCE, distance
from ppdiffusers.runtime.weights import WeightsFile, WeightsVersion, hash_weights, map_weights, write_weights
from ppdiffusers.utils.dtypes import check_computable, computable
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# In "auto" mode, calls that take less than this in eager mode are not compiled.
_MIN_EAGER_SECONDS = 0.5
# The cost of compiling, measured on four cores: constant, and for each GB of weights.
_COMPILE_SECONDS, _COMPILE_SECONDS_PER_GB = 3.0, 4.0
# In "auto" mode, the expected number of further calls like the last one.
_EXPECTED_CALLS = 4
# A network whose calls change its own attributes more often than this is not compiled.
_MAX_SIDE_EFFECTS = 3
# What tracing, compiling and comparing raise (Paddle: AssertionError for what a program cannot do), and full disks.
_COMPILE_ERRORS = (PPDiffusersError, ValueError, RuntimeError, TypeError, LookupError, AssertionError, OSError)

LayerT = TypeVar("LayerT", bound=nn.Layer)


def compile(
    layer: LayerT, dtype: str | paddle.dtype | None = None, backend: str | None = None, mode: str = "on"
) -> LayerT:
    """Make calls of `layer` run compiled programs, in place.

    The first call with each signature (shapes, dtypes, options) traces the network, compiles it and compares the
    result with eager mode. If they disagree, the program is rejected with a warning and calls stay eager. Programs
    are stored on disk, so that the next process need not compile. While a layer is compiled, its weights are views of
    a mapped file, because the engine has its own copy. Changed weights and changed attributes of layers are detected
    and lead to a new program; scales and matrices of adapters are inputs of the program.

    Threads may share the layer: its calls take turns, since an engine uses all cores for one call.

    A call is eager in training mode, for inputs that need gradients, while a sublayer has forward hooks, and while the
    network has attention processors without the attribute `compilable`.

    Args:
        layer: the network; it is returned.
        dtype: the precision of the engine: "float32" (default; results within 1e-4 of eager mode's largest value)
            or "bfloat16" (within 5e-2, if the processor supports it).
        backend: on a CPU "openvino" or "onednn", by default the first of them that is installed; on a GPU "gpu"
            (the default), "cinn" or "tensorrt".
        mode: "on", or "auto": compile when calls are slow enough for compiling to pay off; if it did in an earlier
            process, compile at the first call.

    Raises:
        InputError: an unknown backend, dtype or mode, or half-precision weights on a CPU.
        MissingDependencyError: the backend's package is not installed.
    """
    if mode not in ("on", "auto"):
        raise InputError(f"mode is {mode!r}.", expected="'on' or 'auto'")
    for parameter in layer.parameters():
        check_computable(parameter, type(layer).__name__)
    engine = choose_engine(backend, dtype, _device(layer))
    with network_turn(layer):
        decompile(layer)
        shared = _CompiledLayer(layer, engine, mode == "auto")
        for name in compiled_methods(layer):
            object.__setattr__(layer, name, CompiledMethod(shared, name))
    return layer


def decompile(layer: LayerT) -> LayerT:
    """Undo `compile`: calls of the layer are eager again."""
    with network_turn(layer):
        for name, value in list(layer.__dict__.items()):
            if isinstance(value, CompiledMethod):
                object.__delattr__(layer, name)
                value.disable()
    return layer


def is_compiled(layer: nn.Layer) -> bool:
    """Return whether `compile` was applied."""
    return any(isinstance(value, CompiledMethod) for value in layer.__dict__.values())


def compile_when_it_pays(layer: nn.Layer) -> None:
    """Apply `compile(layer, mode="auto")` to a float32 network on a CPU whose methods were not replaced."""
    if _has_own_methods(layer) or _device(layer) != "cpu":
        return
    with network_turn(layer):
        float32 = all(parameter.dtype == paddle.float32 for parameter in layer.parameters())
        if float32 and not _has_own_methods(layer):  # another thread may have compiled it in the meantime
            compile(layer, mode="auto")


def _has_own_methods(layer: nn.Layer) -> bool:
    return any(name in layer.__dict__ for name in compiled_methods(layer))


def _device(layer: nn.Layer) -> str:
    for parameter in layer.parameters():
        place = parameter.place
        return f"gpu:{place.gpu_device_id()}" if place.is_gpu_place() else "cpu"
    return "cpu"


class _CompiledLayer:
    """What the compiled methods of one layer share: the engine, the mapped weights, the snapshot of attributes."""

    def __init__(self, layer: nn.Layer, engine: Engine, auto: bool):
        self.layer, self.engine, self.auto = layer, engine, auto
        self.name = type(layer).__name__
        self.file: WeightsFile | None = None
        self.hash = ""
        self.generation = 0
        self.gave_up = False
        self.side_effects = 0
        self._weights: WeightsVersion | None = None
        self._snapshot: LayerSnapshot | None = None

    def snapshot(self) -> LayerSnapshot:
        """Return the layers and attributes as they are now."""
        known = self._snapshot
        if known is None or not known.is_current():
            known = self._snapshot = LayerSnapshot(self.layer, ignored=CompiledMethod)
        return known

    def is_stale(self) -> bool:
        """Return whether the weights differ from those that the programs were compiled with."""
        return self._weights is None or self._weights.changed()

    def store_weights(self) -> None:
        """Write the current weights to the cache and map the layer's tensors to that file."""
        layer = self.layer
        self.generation += 1
        self.hash = hash_weights(layer)
        if not self.engine.on_gpu:
            with free_memory_released():
                self.file = self._find_or_write_file()
                map_weights(layer, self.file)
        self._weights = WeightsVersion(layer, self.file)

    def _find_or_write_file(self) -> WeightsFile:
        layer, name = self.layer, f"weights-{self.hash}"
        if cache.is_valid(name) and WeightsFile(cache.cache_root() / name).hash() != self.hash:
            cache.discard(name)  # damage that keeps the file's size
        about = f"weights of {self.name}"
        return WeightsFile(cache.find_or_make(name, about, lambda folder: write_weights(layer, folder)))

    def weights_read_through_layer(self) -> contextlib.AbstractContextManager[None]:
        """While a block reads the layer's weights, release the pages it has read."""
        return contextlib.nullcontext() if self.file is None else self.file.read_through_layer()

    def weights_read_once(self) -> contextlib.AbstractContextManager[dict[str, np.ndarray] | None]:
        """Give the weights in their file and release the pages that were read."""
        return contextlib.nullcontext() if self.file is None else self.file.read_once()

    def size(self) -> int:
        """Return the size of all weights in bytes."""
        return sum(parameter.size * parameter.element_size() for parameter in self.layer.parameters())


@dataclass
class _Call:
    """One call of a compiled method: the arguments as given, as an example for tracing, and their signature."""

    args: tuple
    kwargs: dict[str, Any]
    example: Example
    signature: str
    modules: set[str]


class CompiledMethod:
    """A method of a network that runs compiled programs, one for each signature of arguments."""

    def __init__(self, shared: _CompiledLayer, name: str):
        self._shared, self._name = shared, name
        self._programs: dict[str, Program] = {}
        self._rejected: set[str] = set()
        self._evicted: set[str] = set()
        self._eager_seconds: dict[str, float] = {}
        self._generation = 0

    def __deepcopy__(self, memo: dict) -> CompiledMethod:
        """Copy without programs: the copy of a compiled layer compiles again."""
        shared = self._shared
        copied = _CompiledLayer(copy.deepcopy(shared.layer, memo), shared.engine, shared.auto)
        return CompiledMethod(copied, self._name)

    def __reduce__(self) -> tuple:
        """Pickle as the original method: a network that is loaded from a pickle is not compiled."""
        return getattr, (self._shared.layer, self._name)

    def eager(self, *args: Any, **kwargs: Any) -> Any:
        """Call the original method."""
        return getattr(type(self._shared.layer), self._name)(self._shared.layer, *args, **kwargs)

    def disable(self) -> None:
        """Let all further calls be eager: those of threads that got this method before it was replaced."""
        self._shared.gave_up = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not paddle.in_dynamic_mode():  # traced as a part of another network
            return self.eager(*args, **kwargs)
        with network_turn(self._shared.layer):
            return self._call(args, kwargs)

    def _call(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        call = self._prepare(args, kwargs)
        if call is None or call.signature in self._rejected:
            return self.eager(*args, **kwargs)
        if self._shared.auto and call.signature not in self._programs:
            return self._call_auto(call)
        if not self._refresh():
            return self.eager(*args, **kwargs)
        if call.signature in self._programs:
            return self._programs[call.signature](call.example.tensors)
        return self._call_first(call)

    def _prepare(self, args: tuple, kwargs: dict[str, Any]) -> _Call | None:
        """Compute the signature of a call; None if the call has to be eager."""
        shared = self._shared
        if shared.gave_up or shared.layer.training or shared.auto and paddle.is_grad_enabled():
            return None
        snapshot = shared.snapshot()
        if snapshot.has_hooks() or snapshot.has_custom_processors:
            return None
        tensors: list[paddle.Tensor] = []
        try:
            arguments = tree_flatten(self._numbers_as_inputs(args, kwargs), tensors)
        except UnsupportedLeafError:
            return None
        tensors += collect_state(snapshot.stateful)
        if paddle.is_grad_enabled() and not all(tensor.stop_gradient for tensor in tensors):
            return None  # programs compute no gradients
        key = signature(arguments, tensors, get_num_threads(), snapshot.fingerprint)
        return _Call(args, kwargs, Example(arguments, tensors, snapshot.stateful), key, snapshot.modules)

    def _numbers_as_inputs(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Return the arguments as they are traced: numbers as tensors, half precision on a CPU in float32."""
        args, kwargs = computable(args), computable(kwargs)
        names = getattr(type(self._shared.layer), self._name).__code__.co_varnames[1:]
        named = tuple(numbers_as_inputs(name, value) for name, value in zip(names, args))
        return named + args[len(names) :], {name: numbers_as_inputs(name, value) for name, value in kwargs.items()}

    def _refresh(self) -> bool:
        """Discard all programs if the weights have changed; return False if the weights cannot be written."""
        if self._shared.is_stale():
            try:
                self._shared.store_weights()
            except OSError as error:
                self._shared.gave_up = True
                logger.warning(
                    "%s is not compiled and runs in eager mode: its weights cannot be written to %s: %s. Free disk "
                    "space there, or set PPDIFFUSERS_CACHE to another folder, and call compile() again.",
                    self._shared.name,
                    cache.cache_root(),
                    error,
                )
                return False
        if self._generation != self._shared.generation:
            self._generation = self._shared.generation
            self._programs.clear()
            self._rejected.clear()
        return True

    def _call_auto(self, call: _Call) -> Any:
        """Call in eager mode until such calls have taken long enough, here or in an earlier process, to compile."""
        seconds = self._eager_seconds
        if call.signature not in seconds:
            seconds[call.signature] = math.inf if cache.is_valid(self._pays(call)) else 0.0
        if self._compiling_pays(call) and self._refresh():
            return self._call_first(call)
        start = time.perf_counter()
        result, pure = self._call_eager(call)
        elapsed = time.perf_counter() - start
        if elapsed < _MIN_EAGER_SECONDS or not pure:
            return result
        seconds[call.signature] += elapsed
        if self._compiling_pays(call) and self._refresh():
            self._call_first(call, expected=result)
        return result

    def _compiling_pays(self, call: _Call) -> bool:
        cost = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_GB * self._shared.size() / 2**30
        return self._eager_seconds[call.signature] * _EXPECTED_CALLS >= cost

    def _call_eager(self, call: _Call) -> tuple[Any, bool]:
        """Return the result of eager mode, and whether the call left the attributes of all layers unchanged."""
        shared = self._shared
        before = shared.snapshot().fingerprint
        result = self.eager(*call.args, **call.kwargs)
        if shared.snapshot().fingerprint == before:
            return result, True
        shared.side_effects += 1
        if shared.side_effects > _MAX_SIDE_EFFECTS:
            shared.gave_up = True
            logger.warning(
                "%s is not compiled and runs in eager mode: its calls change attributes of its layers, and a program "
                "cannot do that.",
                shared.name,
            )
        return result, False

    def _pays(self, call: _Call) -> str:
        """Return the name of the cache entry which records that compiling pays off, whatever the weights are."""
        return f"pays-{self._key(call)}"

    def _key(self, call: _Call, **more: str) -> str:
        shared = self._shared
        return cache.content_key(
            layer=f"{type(shared.layer).__module__}.{type(shared.layer).__qualname__}.{self._name}",
            source=cache.source_hash(type(shared.layer).__module__),
            sources=[cache.source_hash(module) for module in sorted(call.modules)],
            config=repr(getattr(shared.layer, "config", None)),
            signature=call.signature,
            engine=shared.engine.identity(),
            **more,
        )

    def _call_first(self, call: _Call, expected: Any = None) -> Any:
        """Compile the program and compare it with eager mode, unless an earlier process did."""
        shared = self._shared
        # Keep one program: each holds all weights. A signature that returns may stay next to the newest one.
        while len(self._programs) > (1 if call.signature in self._evicted else 0):
            oldest = next(iter(self._programs))
            self._evicted.add(oldest)
            del self._programs[oldest]
        key = self._key(call, weights=shared.hash)
        proof = f"verified-{key}"
        verified = cache.is_valid(proof)
        if expected is None and not verified:  # before the engine has its own copy of the weights in memory
            with shared.weights_read_through_layer():
                expected, pure = self._call_eager(call)
            if not pure:
                return expected
        try:
            with free_memory_released():
                program = Program(shared, self, key, call.example)
            if not verified:
                found = self._verify(program(call.example.tensors), expected)
                self._record(proof, f"agrees with eager mode: {found:.1e}")
            if shared.auto:
                self._record(self._pays(call), "is slow enough to be compiled")
        except _COMPILE_ERRORS as error:
            logger.warning(
                "%s.%s is not compiled for these arguments and runs in eager mode: %s", shared.name, self._name, error
            )
            self._rejected.add(call.signature)
            return self.eager(*call.args, **call.kwargs) if expected is None else expected
        self._programs[call.signature] = program
        return program(call.example.tensors) if expected is None else expected

    def _record(self, entry: str, fact: str) -> None:
        """Write a cache entry without files."""
        cache.find_or_make(entry, f"{self._shared.name}.{self._name} {fact}", lambda folder: None)

    def _verify(self, result: Any, expected: Any) -> float:
        found, allowed = distance(result, expected), TOLERANCE[self._shared.engine.dtype]
        if not found <= allowed:
            raise ConversionError(
                f"The {self._shared.engine.name} program disagrees with eager mode: {found:.1e} of the largest value.",
                expected=f"at most {allowed:.0e}",
            )
        return found


class Program:
    """A compiled program: maps a list of tensors to the method's result."""

    def __init__(self, shared: _CompiledLayer, method: CompiledMethod, key: str, example: Example):
        layer, engine = shared.layer, shared.engine
        shapes = " ".join("x".join(map(str, tensor.shape)) or "scalar" for tensor in example.tensors[:8])
        with shared.weights_read_through_layer():
            folder = cache.find_or_make(
                f"program-{key}",
                f"{shared.name}.{method._name} for {engine.name}, {engine.dtype}, {shapes}",
                lambda folder: engine.write(folder, layer, method.eager, example),
            )
        use_while_alive(self, folder)  # engines may read their files later
        self._result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        with shared.weights_read_once() as weights:
            self._run: Callable[[list[paddle.Tensor]], list[paddle.Tensor]] = engine.load(folder, weights)

    def __call__(self, tensors: list[paddle.Tensor]) -> Any:
        return tree_unflatten(self._result, self._run(tensors))
