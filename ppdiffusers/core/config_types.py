"""Check the types of a configuration's values against the annotations of the constructor that receives them."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ppdiffusers.core.errors import ConfigError, PPDiffusersError

T = TypeVar("T")
# Values of other types (arrays, tensors, enumerations) come from a program, not from a file, and are not judged.
_JSON = (type(None), bool, int, float, str, list, tuple, dict)
_NAMES = {dict: "a dictionary", list: "a list", tuple: "a list", str: "a string", bool: "true or false"}
# What constructors raise for values that have the right types and cannot work.
VALUE_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    RecursionError,
    SystemError,  # of Paddle, for sizes that do not fit into its integers
)
# Limits of what a configuration may ask for before any work is done.
_MOST_TIMESTEPS = 100_000  # published schedulers have up to 4000
_MOST_LAYERS = 500  # published networks have up to 100


def check_types(what: str, values: Mapping[str, Any], function: Callable, where: object = None) -> list[str]:
    """Check configuration values against the annotations and defaults of a function's parameters.

    As in Python, an integer is accepted for a float and a list for a tuple. None is accepted for flags, because
    published configurations have `null` for false.

    Returns:
        Descriptions of None where no annotation and no default allows it. Whether an unused value may be None is known
        to the function only.

    Raises:
        ConfigError: values have wrong types; all of them are listed.
    """
    hints = _parameters(inspect.unwrap(function))
    nulls = problems_with({key: value for key, value in values.items() if value is None}, hints)
    problems = problems_with({key: value for key, value in values.items() if value is not None}, hints)
    if problems:
        raise_problems(what, [*problems, *nulls], where)
    raise_impossible(what, values, where)
    return nulls


def create(cls: Callable[..., T], values: Mapping[str, Any]) -> T:
    """Check configuration values against the annotations of a class's constructor, and call it with them.

    Raises:
        ConfigError: values have wrong types, or are None where the constructor needs a value; all of them are listed.
    """
    nulls = check_types(cls.__name__, values, cls.__init__)
    try:
        return cls(**values)
    except PPDiffusersError:
        raise
    except VALUE_ERRORS:
        raise_problems(cls.__name__, nulls)
        raise


def check_like_defaults(what: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check configuration values against the types of default values. `*_token_id` may also be None.

    Raises:
        ConfigError: values have wrong types; all of them are listed.
    """
    raise_problems(what, problems_with(values, {key: _hint_of_default(key, value) for key, value in defaults.items()}))
    raise_impossible(what, values)


def raise_impossible(what: str, values: Mapping[str, Any], where: object = None) -> None:
    """Check the values that decide how much work it is to create an object, before creating it.

    Raises:
        ConfigError: they ask for more than any published model has.
    """
    problems = []
    timesteps = values.get("num_train_timesteps")
    if isinstance(timesteps, int) and not 1 <= timesteps <= _MOST_TIMESTEPS:
        problems.append(f"num_train_timesteps: expected 1 to {_MOST_TIMESTEPS}, found {timesteps}")
    named, layers = _layers(values)
    if layers > _MOST_LAYERS:
        problems.append(f"{', '.join(named)}: {layers} layers, expected at most {_MOST_LAYERS}")
    if problems:
        raise ConfigError(f"The configuration of {what} asks for the impossible.", where=where, problems=problems)


def _layers(values: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the values of a configuration that are numbers of layers, and about how many layers they make."""
    levels, layers, repeats = 1, 0, 1
    named = []
    for key, value in values.items():
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        largest = max((number for number in numbers if isinstance(number, int)), default=0)
        if key.endswith("_per_block"):
            repeats *= max(1, largest)
        elif any(word in key for word in ("layers", "blocks")) or key in ("depth", "depths", "n_layer"):
            layers += max(0, largest)  # of an encoder and a decoder, for one
        elif key.endswith(("_types", "_ratios", "_sizes", "channels")):
            levels = max(levels, len(numbers))
        else:
            continue
        named.append(key)
    return named, levels * max(1, layers) * repeats


def raise_problems(what: str, problems: Iterable[str], where: object = None) -> None:
    """Raise one ConfigError that lists all problems with a configuration's values, if there are any."""
    problems = list(problems)
    if problems:
        raise ConfigError(
            f"The configuration of {what} has values of wrong types.",
            where=where,
            problems=problems,
            remedy="correct these values, or download the configuration again.",
        )


def problems_with(values: Mapping[str, Any], hints: Mapping[str, Any]) -> list[str]:
    """Describe the values whose types do not fit their hints; keys without a hint are accepted."""
    return [
        f"{key}: expected {_described(hints[key])}, found {shown(value)}"
        for key, value in values.items()
        if key in hints and not fits(value, hints[key])
    ]


@contextmanager
def built_from_configuration(what: str, where: object) -> Iterator[None]:
    """Turn the errors of a constructor whose arguments come from a file into one ConfigError that names the file.

    Raises:
        ConfigError: the values have the right types and do not describe an object.
    """
    try:
        yield
    except PPDiffusersError as error:
        error.at(where)
        raise
    except Exception as error:
        if not isinstance(error, VALUE_ERRORS) and type(error) is not Exception:  # the tokenizers library raises that
            raise
        text = str(error).strip().split("\n")
        raise ConfigError(
            f"{what} cannot be built from the configuration: {type(error).__name__}: {text[-1][:300]}",
            where=where,
            remedy="check its values: types, signs, lengths of lists.",
        ) from error


# -- types --------------------------------------------------------------------------------------------------------


@functools.cache
def _parameters(function: Callable) -> dict[str, Any]:
    """Return the hints of a function's annotated parameters; None is a part of those whose default is None."""
    hints = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = _resolved(parameter.annotation, getattr(function, "__globals__", {}))
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or hint is Any:
            continue
        hints[parameter.name] = hint | None if parameter.default is None else hint
    return hints


def _resolved(annotation: Any, names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))  # source code of this package
    except (NameError, AttributeError, TypeError):  # a name that is imported for type checkers only
        return Any


def _hint_of_default(key: str, default: object) -> Any:
    if default is None:
        return Any
    if isinstance(default, bool):
        return bool
    if key in ("image_size", "patch_size"):
        return int | Sequence[int]
    hint: Any = float if isinstance(default, float) else type(default)
    return hint | None if key.endswith("_token_id") or isinstance(default, (list, dict)) else hint


def fits(value: object, hint: Any) -> bool:
    """Return whether a value of a configuration has the type of an annotation."""
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar) or not isinstance(value, _JSON):
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return type(value) in {type(argument) for argument in arguments}
    kind = origin or hint
    if kind is bool:
        return value is None or isinstance(value, (bool, int)) and value in (0, 1)
    if kind in (int, float):
        return isinstance(value, (int, float) if kind is float else int)
    if kind is type(None):
        return value is None
    if kind is tuple:
        return isinstance(value, (list, tuple)) and all(fits(v, h) for v, h in zip(value, _members(value, arguments)))
    if kind in (list, Sequence, Iterable, np.ndarray):
        member = float | list if kind is np.ndarray else arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(fits(item, member) for item in value)
    if kind in (dict, Mapping):
        return isinstance(value, dict) and (not arguments or all(fits(item, arguments[1]) for item in value.values()))
    if getattr(kind, "_is_protocol", False):
        return False
    return isinstance(value, kind) if isinstance(kind, type) else True


def _members(value: Sequence[object], arguments: tuple) -> list[Any]:
    """Return the hint of each member of a tuple, whose length the constructor checks."""
    if not arguments or arguments[-1] is Ellipsis:
        return [arguments[0] if arguments else Any] * len(value)
    return [*arguments, *[Any] * len(value)][: len(value)]


def _described(hint: Any) -> str:
    if hint is type(None):
        return "null"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_described(argument) for argument in typing.get_args(hint)))
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string", np.ndarray: "a list"}
    kind = typing.get_origin(hint) or hint
    if kind is Callable:
        return "a function"
    if kind in names:
        return names[kind]
    arguments = [_described(argument) for argument in typing.get_args(hint) if argument is not Ellipsis]
    if kind in (dict, Mapping):
        return "an object"
    if kind in (tuple, list, Sequence, Iterable):
        return f"a list ({', '.join(arguments)})" if arguments else "a list"
    return getattr(kind, "__name__", str(kind))


def shown(value: object) -> str:
    """Describe a value of a configuration in a message, in bounded length."""
    text = repr(value)[:80] if isinstance(value, (str, int, float, type(None))) else _NAMES.get(type(value))
    return {"None": "null", "True": "true", "False": "false"}.get(str(text), str(text))
