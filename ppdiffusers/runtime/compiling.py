"""Compiling networks: the same calls, the same results, run by an engine that is faster than Paddle's own kernels.

`compile(layer)` changes the layer in place: its `forward` (or, in an autoencoder, what encodes and decodes a tile)
becomes a `CompiledMethod`, which makes one program for each form of arguments it meets.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import ConversionError, InputError, PPDiffusersError
from ppdiffusers.runtime import cache
from ppdiffusers.runtime.engines import Engine, choose_engine
from ppdiffusers.runtime.memory import memory_given_back
from ppdiffusers.runtime.structure import NotPlain, compiled_methods, flatten, number_as_tensor, rebuild
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.runtime.verify import TOLERANCE, distance
from ppdiffusers.runtime.weights import Fingerprint, WeightsFile, hash_weights, move_to_file, write_weights
from ppdiffusers.utils.dtypes import check_computable
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# In "auto", calls that take less than this in eager mode are not worth a compile.
_WORTH_SECONDS = 0.5
# What compiling costs, measured on four cores: a base and so much for each GB of weights.
_COMPILE_SECONDS, _COMPILE_SECONDS_PER_GB = 3.0, 4.0
# In "auto", how many more calls like the last one are expected.
_EXPECTED_CALLS = 4
# What tracing, compiling and comparing raise (Paddle: AssertionError for what a program cannot do), and full disks.
_REASONS_TO_STAY_EAGER = (PPDiffusersError, ValueError, RuntimeError, TypeError, LookupError, AssertionError, OSError)
# Arguments whose numbers change from call to call: they become tensors, so that one program serves all.
_CHANGING = ("timestep", "timesteps")


def compile(layer: nn.Layer, dtype: Any = None, backend: str | None = None, mode: str = "on") -> nn.Layer:
    """Make calls of `layer` run compiled programs, in place.

    The first call with each form of arguments (shapes, dtypes, options) traces the network, compiles it and compares
    the result with eager mode; a program that disagrees is refused with a warning, and eager mode goes on. Programs
    are kept on disk, so the next process starts at once. While it is compiled, the layer's weights lie in a mapped
    file (their place in memory is the engine's); changed weights are noticed, and programs made anew. In training
    mode, and for inputs that need gradients, the layer computes as always. Hooks of its parts do not run.

    Args:
        layer: a network of ours; it is returned.
        dtype: what the engine computes in: "float32" (default; results within 1e-4 of eager mode's largest value)
            or "bfloat16" (within 5e-2, where the processor has it).
        backend: on a CPU "openvino" or "onednn", by default the first of them that is installed; on a GPU "gpu"
                (the default), "cinn" or "tensorrt".
        mode: "on", or "auto": compile when a call takes so long that compiling pays; where an earlier process found
            that it does, from the first call on.

    Raises:
        InputError: an unknown backend, dtype or mode, or half-precision weights on a CPU.
        MissingDependencyError: the backend's package is not installed.
    """
    if mode not in ("on", "auto"):
        raise InputError(f"mode is {mode!r}.", expected="'on' or 'auto'")
    for parameter in layer.parameters():
        check_computable(parameter, type(layer).__name__)
    engine = choose_engine(backend, dtype, _device(layer))
    decompile(layer)
    shared = _Shared(layer, engine, mode == "auto")
    for name in compiled_methods(layer):
        object.__setattr__(layer, name, CompiledMethod(shared, name))
    return layer


def decompile(layer: nn.Layer) -> nn.Layer:
    """Undo `compile`: the layer computes in eager mode again."""
    for name, value in list(layer.__dict__.items()):
        if isinstance(value, CompiledMethod):
            object.__delattr__(layer, name)
    return layer


def is_compiled(layer: nn.Layer) -> bool:
    """Whether `compile` was applied."""
    return any(isinstance(value, CompiledMethod) for value in layer.__dict__.values())


def compile_when_it_pays(layer: nn.Layer) -> None:
    """Apply `compile(layer, mode="auto")` where that is safe: a float32 network on a CPU that nobody has changed."""
    changed = any(name in layer.__dict__ for name in compiled_methods(layer))
    usual = _device(layer) == "cpu" and all(parameter.dtype == paddle.float32 for parameter in layer.parameters())
    if usual and not changed:
        compile(layer, mode="auto")


def _device(layer: nn.Layer) -> str:
    for parameter in layer.parameters():
        place = parameter.place
        return f"gpu:{place.gpu_device_id()}" if place.is_gpu_place() else "cpu"
    return "cpu"


class _Shared:
    """What the compiled methods of one layer have in common: the engine, and the weights in their file."""

    def __init__(self, layer: nn.Layer, engine: Engine, auto: bool):
        self.layer, self.engine, self.auto = layer, engine, auto
        self.file: WeightsFile | None = None
        self.hash = ""
        self.generation = 0
        self.gave_up = False
        self._fingerprint: Fingerprint | None = None

    def stale(self) -> bool:
        """Whether the weights are others than those the programs were made from."""
        return self._fingerprint is None or self._fingerprint.changed()

    def take_weights(self) -> None:
        """Bring the weights as they are now into the cache, and let the layer read them from there."""
        layer = self.layer
        self.generation += 1
        self.hash = hash_weights(layer)
        if not self.engine.on_gpu:
            with memory_given_back():
                self.file = self._file()
                move_to_file(layer, self.file)
        self._fingerprint = Fingerprint(layer, self.file)

    def _file(self) -> WeightsFile:
        """The file with these weights: one that is there and whole, or a new one."""
        layer, name = self.layer, f"weights-{self.hash}"
        if cache.is_there(name) and WeightsFile(cache.cache_root() / name).hash() != self.hash:
            cache.discard(name)  # damaged in a way that keeps its size
        about = f"weights of {type(layer).__name__}"
        return WeightsFile(cache.find_or_make(name, about, lambda folder: write_weights(layer, folder)))

    def weights_read_through_layer(self) -> contextlib.AbstractContextManager[None]:
        """Around what reads the layer's weights: those in the file do not pile up in memory."""
        return contextlib.nullcontext() if self.file is None else self.file.read_through_layer()

    def weights_read_once(self) -> contextlib.AbstractContextManager[dict[str, np.ndarray] | None]:
        """The weights in their file: what is read of them does not pile up in memory beside the engine's."""
        return contextlib.nullcontext() if self.file is None else self.file.read_once()

    def size(self) -> int:
        """Bytes of all weights."""
        return sum(parameter.size * parameter.element_size() for parameter in self.layer.parameters())


class CompiledMethod:
    """A method of a network that runs compiled programs, one for each form of arguments."""

    def __init__(self, shared: _Shared, name: str):
        self._shared, self._name = shared, name
        self._programs: dict[str, Any] = {}
        self._refused: set[str] = set()
        self._dropped: set[str] = set()
        self._eager_seconds: dict[str, float] = {}
        self._generation = 0

    def __deepcopy__(self, memo: dict) -> CompiledMethod:
        """The copy of a compiled layer compiles anew."""
        shared = self._shared
        return CompiledMethod(_Shared(copy.deepcopy(shared.layer, memo), shared.engine, shared.auto), self._name)

    def eager(self, *args: Any, **kwargs: Any) -> Any:
        """The method as it was."""
        return getattr(type(self._shared.layer), self._name)(self._shared.layer, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        shared = self._shared
        if shared.gave_up or shared.layer.training or shared.auto and paddle.is_grad_enabled():
            return self.eager(*args, **kwargs)
        tensors: list[paddle.Tensor] = []
        try:
            template = flatten(self._with_tensors(args, kwargs), tensors)
        except NotPlain:
            return self.eager(*args, **kwargs)
        if paddle.is_grad_enabled() and not all(tensor.stop_gradient for tensor in tensors):
            return self.eager(*args, **kwargs)  # programs give no gradients
        form = json.dumps([template, [[str(t.dtype), list(t.shape)] for t in tensors], get_num_threads()])
        if form in self._refused:
            return self.eager(*args, **kwargs)
        if shared.auto and form not in self._programs:
            return self._perhaps(form, template, tensors, args, kwargs)
        if not self._refresh():
            return self.eager(*args, **kwargs)
        if form in self._programs:
            return self._programs[form](tensors)
        return self._first(form, template, tensors, args, kwargs)

    def _with_tensors(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Timesteps given as numbers become tensors: they change at every call."""
        names = getattr(type(self._shared.layer), self._name).__code__.co_varnames[1:]
        args = (
            tuple(number_as_tensor(x) if name in _CHANGING else x for name, x in zip(names, args)) + args[len(names) :]
        )
        return args, {name: number_as_tensor(x) if name in _CHANGING else x for name, x in kwargs.items()}

    def _refresh(self) -> bool:
        """Throw the programs away when the weights have changed; False if the cache cannot take the weights."""
        if self._shared.stale():
            try:
                self._shared.take_weights()
            except OSError as error:
                self._shared.gave_up = True
                logger.warning(
                    "%s is not compiled and computes in eager mode: its weights cannot be written to %s: %s. Make room "
                    "there, or set PPDIFFUSERS_CACHE to a folder elsewhere, and call compile() again.",
                    type(self._shared.layer).__name__,
                    cache.cache_root(),
                    error,
                )
                return False
        if self._generation != self._shared.generation:
            self._generation = self._shared.generation
            self._programs.clear()
            self._refused.clear()
        return True

    def _perhaps(self, form: str, template: list, tensors: list, args: tuple, kwargs: dict) -> Any:
        """In "auto": eager, until calls of this form have taken long enough for a compile to pay, here or in an earlier
        process."""
        if form not in self._eager_seconds:
            self._eager_seconds[form] = math.inf if cache.is_there(self._pays(form)) else 0.0
        if self._eager_seconds[form] * _EXPECTED_CALLS >= self._cost() and self._refresh():
            return self._first(form, template, tensors, args, kwargs)
        start = time.perf_counter()
        result = self.eager(*args, **kwargs)
        seconds = time.perf_counter() - start
        if seconds < _WORTH_SECONDS:
            return result
        self._eager_seconds[form] += seconds
        if self._eager_seconds[form] * _EXPECTED_CALLS >= self._cost() and self._refresh():
            self._first(form, template, tensors, args, kwargs, expected=result)
        return result

    def _pays(self, form: str) -> str:
        """The cache's entry that says that calls of this form take long enough, whatever the weights are."""
        return f"pays-{self._key(form)}"

    def _key(self, form: str, **more: str) -> str:
        shared = self._shared
        return cache.content_key(
            layer=f"{type(shared.layer).__module__}.{type(shared.layer).__qualname__}.{self._name}",
            source=cache.source_hash(type(shared.layer)),
            config=repr(getattr(shared.layer, "config", None)),
            form=form,
            engine=shared.engine.identity(),
            **more,
        )

    def _cost(self) -> float:
        return _COMPILE_SECONDS + _COMPILE_SECONDS_PER_GB * self._shared.size() / 2**30

    def _first(self, form: str, template: list, tensors: list, args: tuple, kwargs: dict, expected: Any = None) -> Any:
        """Make the program, and compare it with eager mode unless that was done before."""
        shared = self._shared
        # one program at a time: each holds all weights. A form that comes back may stay beside the newest.
        while len(self._programs) > (1 if form in self._dropped else 0):
            oldest = next(iter(self._programs))
            self._dropped.add(oldest)
            del self._programs[oldest]
        key = self._key(form, weights=shared.hash)
        proof = f"verified-{key}"
        proven = cache.is_there(proof)
        if expected is None and not proven:  # before the engine has its own copy of the weights in memory
            with shared.weights_read_through_layer():
                expected = self.eager(*args, **kwargs)
        try:
            with memory_given_back():
                program = Program(shared, self, key, template, tensors)
            if not proven:
                found = self._check(program(tensors), expected)
                about = f"{type(shared.layer).__name__}.{self._name} agrees with eager mode: {found:.1e}"
                cache.find_or_make(proof, about, lambda folder: None)
            if shared.auto:
                about = f"{type(shared.layer).__name__}.{self._name} takes long enough to be compiled"
                cache.find_or_make(self._pays(form), about, lambda folder: None)
        except _REASONS_TO_STAY_EAGER as error:
            logger.warning(
                "%s.%s is not compiled for these arguments, and computes in eager mode: %s",
                type(shared.layer).__name__,
                self._name,
                error,
            )
            self._refused.add(form)
            return self.eager(*args, **kwargs) if expected is None else expected
        self._programs[form] = program
        return program(tensors) if expected is None else expected

    def _check(self, result: Any, expected: Any) -> float:
        found, allowed = distance(result, expected), TOLERANCE[self._shared.engine.dtype]
        if not found <= allowed:
            raise ConversionError(
                f"The {self._shared.engine.name} program disagrees with eager mode: {found:.1e} of the largest value.",
                expected=f"at most {allowed:.0e}",
            )
        return found


class Program:
    """One compiled program: tensors in, the method's result out."""

    def __init__(self, shared: _Shared, method: CompiledMethod, key: str, template: list, tensors: list):
        layer = shared.layer
        about = f"{type(layer).__name__}.{method._name} for {shared.engine.name}, {shared.engine.dtype}, " + " ".join(
            "x".join(map(str, tensor.shape)) or "number" for tensor in tensors
        )
        with shared.weights_read_through_layer():
            folder = cache.find_or_make(
                f"program-{key}",
                about,
                lambda folder: shared.engine.write(folder, layer, method.eager, template, tensors),
            )
        self._result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        with shared.weights_read_once() as weights:
            self._run = shared.engine.load(folder, weights)

    def __call__(self, tensors: list) -> Any:
        return rebuild(self._result, self._run(tensors))
