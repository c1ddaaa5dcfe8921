"""Random tensors from every kind of generator that a pipeline accepts."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeGuard

import numpy as np
import paddle
from paddle.base.core import Generator as PaddleGenerator  # `paddle.Generator()` returns the global object of it

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.lazy import lazy_exports
from ppdiffusers.core.tensors import FLOATING
from ppdiffusers.core.torch_random import RecordedNoise, TorchGenerator
from ppdiffusers.core.torch_random.shapes import as_shape
from ppdiffusers.utils.dtypes import as_dtype_name
from ppdiffusers.utils.import_utils import is_torch_version as is_torch_version

__getattr__, __dir__, _ = lazy_exports(__name__, {"ppdiffusers.models.blocks.freeu": ["apply_freeu"]})

# What a pipeline accepts as `generator`; integers are seeds.
SingleGenerator: TypeAlias = "int | np.integer | TorchGenerator | RecordedNoise | PaddleGenerator | None"
Generator: TypeAlias = "SingleGenerator | Sequence[SingleGenerator]"
_Prepared: TypeAlias = "TorchGenerator | RecordedNoise | PaddleGenerator | None"
# Draws from separate generators of Paddle exchange the state of its global one: one thread at a time.
_PADDLE_STREAM = threading.Lock()
_KINDS = "None, an integer, a TorchGenerator, a paddle.Generator, a RecordedNoise, or a list with one for each image"


def as_generator(generator: Generator) -> _Prepared | list[_Prepared]:
    """Replace what has no stream that advances separately by what has one, for a call that draws several times.

    A pipeline calls this once, before it draws random numbers. An integer becomes a `TorchGenerator` on the CPU: with
    the integer, every draw would restart the stream. Paddle's global generator, which every `paddle.Generator()`
    returns, becomes a copy: the call starts at the state of the global stream, and does not advance it.

    Raises:
        InputError: `generator`, or one of its elements, is not a generator.
    """
    prepared = checked_generator(generator)
    if not isinstance(prepared, list):
        return _separate(prepared)
    _warn_of_repeated_generators(prepared)
    copies = {id(one): _separate(one) for one in prepared}  # one object stays one stream
    return [copies[id(one)] for one in prepared]


def checked_generator(generator: Generator) -> _Prepared | list[_Prepared]:
    """Replace integer seeds by generators, and check the type of the others.

    Raises:
        InputError: `generator`, or one of its elements, is not a generator.
    """
    if isinstance(generator, list | tuple):
        return [_as_one_generator(one) for one in generator]
    return _as_one_generator(generator)


def _is_global(generator: _Prepared) -> TypeGuard[PaddleGenerator]:
    """Whether it is the global generator of Paddle for the current device or the CPU."""
    return generator is paddle.Generator() or generator is paddle.framework.core.default_cpu_generator()


def _separate(generator: _Prepared) -> _Prepared:
    """A copy of Paddle's global generator; other generators are unchanged."""
    if _is_global(generator):
        copy = PaddleGenerator()
        with _PADDLE_STREAM:
            copy.set_state(generator.get_state())
        return copy
    return generator


def _warn_of_repeated_generators(generators: list[_Prepared]) -> None:
    """Warn if several images share a stream although each seems to have one."""
    streams = [one for one in generators if isinstance(one, TorchGenerator | PaddleGenerator)]
    repeated = [one for n, one in enumerate(streams) if any(one is other for other in streams[:n])]
    if not repeated:
        return
    cause = "One generator is several times in the list `generator`: its images share one stream."
    if _is_global(repeated[0]):
        cause = (
            "Each `paddle.Generator()` is the one global generator of Paddle, which is several times in the list "
            f"`generator`: its images share one stream, with the seed that was set last ({repeated[0].initial_seed()})."
        )
    warnings.warn(
        f"{cause} To generate each image with its seed, pass a list of seeds such as `generator=[0, 1]`, or of "
        "`ppdiffusers.TorchGenerator(seed)`.",
        UserWarning,
        stacklevel=4,
    )


def _as_one_generator(generator: SingleGenerator) -> _Prepared:
    if isinstance(generator, int | np.integer) and not isinstance(generator, bool):
        return TorchGenerator(int(generator))
    if generator is None or isinstance(generator, TorchGenerator | RecordedNoise | PaddleGenerator):
        return generator
    raise InputError(
        "This is not a generator of random numbers.",
        where=f"generator={generator!r}",
        expected=_KINDS,
        remedy="for the stream of torch.Generator(device).manual_seed(s) use ppdiffusers.TorchGenerator(s, device)",
    )


def is_compiled_module(module: object) -> bool:
    """Whether a network is inside another object that compiles it: False.

    Compiling replaces the `forward` of a network, here and in `paddle.jit`, and the network stays the same object, so
    that there is no `module._orig_mod` to look at.
    """
    return False


def randn_tensor(
    shape: Sequence[int],
    generator: Generator = None,
    dtype: object = None,
    *,
    device: object = None,
    layout: object = None,
) -> paddle.Tensor:
    """Draw standard normal noise, [*shape], on Paddle's current device.

    Args:
        shape: of the result; with a list of generators, its first size is the number of images.
        generator: None for Paddle's global stream (`paddle.seed`), an integer for the torch CPU stream of that seed,
            a `TorchGenerator`, a generator of Paddle, a `RecordedNoise`, or a list with one of them for each image.
            Generators of Paddle advance, the global one too (`paddle.Generator()` returns it); pass the result of
            `as_generator` to draw from a copy of it.
        dtype: of the result, float32 by default. As in torch, float16, bfloat16 and float64 have other streams than
            float32: the same seed and dtype give the same numbers.
        device, layout: accepted for compatibility with diffusers and ignored: the device of the result is that of
            `paddle.set_device`, for generators of every device.

    Raises:
        InputError: the length of the list is not the batch size, or `generator` is of an unknown type.
    """
    return _draw("randn", shape, generator, dtype)


def rand_tensor(shape: Sequence[int], generator: Generator = None, dtype: object = None) -> paddle.Tensor:
    """Draw uniform noise in [0, 1), [*shape]; the arguments are those of `randn_tensor`."""
    return _draw("rand", shape, generator, dtype)


def _floating(dtype: object) -> str:
    name = as_dtype_name(dtype)
    if name not in FLOATING:
        raise InputError("The dtype of noise must be floating.", where=f"{dtype=}", expected=", ".join(FLOATING))
    return name


def _draw(kind: str, shape: Sequence[int], generator: Generator, dtype: object) -> paddle.Tensor:
    shape = as_shape(shape)
    dtype = "float32" if dtype is None else _floating(dtype)
    prepared = checked_generator(generator)
    if not isinstance(prepared, list):
        return _draw_one(kind, shape, prepared, dtype)
    if len(prepared) == 1:
        return _draw_one(kind, shape, prepared[0], dtype)
    if any(_is_global(one) for one in prepared):
        _warn_of_repeated_generators(prepared)
    if not shape or len(prepared) != shape[0]:
        raise InputError(
            f"{len(prepared)} generators were passed for noise of shape {shape}.",
            where="generator",
            expected=f"one generator for each of the {shape[0] if shape else 0} images, or a single one for all",
        )
    return paddle.concat([_draw_one(kind, (1, *shape[1:]), one, dtype) for one in prepared])


def _draw_one(kind: str, shape: tuple[int, ...], generator: _Prepared, dtype: str) -> paddle.Tensor:
    if isinstance(generator, TorchGenerator | RecordedNoise):
        return paddle.to_tensor(getattr(generator, kind)(shape, dtype), dtype=getattr(paddle, dtype))
    with _PADDLE_STREAM:
        if generator is None:
            return _paddle_draw(kind, shape, dtype)
        return _with_paddle_generator(generator, lambda: _paddle_draw(kind, shape, dtype))


def _paddle_draw(kind: str, shape: tuple[int, ...], dtype: str) -> paddle.Tensor:
    """Draw from Paddle's default generator; 16-bit noise is rounded float32 noise."""
    drawn = getattr(paddle, kind)(shape, dtype="float64" if dtype == "float64" else "float32")
    return drawn.astype(dtype)


def _with_paddle_generator(generator: PaddleGenerator, draw: Callable[[], paddle.Tensor]) -> paddle.Tensor:
    """Run `draw` on the stream of `generator`, which advances; the default stream does not change.

    Paddle's random kernels use the default generator only, so that the two exchange their states for the call.
    """
    place = paddle.framework._current_expected_place()
    default = (
        paddle.framework.core.default_cuda_generator(place.get_device_id())
        if place.is_gpu_place()
        else paddle.framework.core.default_cpu_generator()
    )
    if generator is default:
        return draw()
    kept = default.get_state()
    default.set_state(generator.get_state())
    try:
        drawn = draw()
        generator.set_state(default.get_state())
    finally:
        default.set_state(kept)
    return drawn
