"""The configuration of an original repository: YAML, JSON or command-line flags, read value by value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from ppdiffusers.core.config_types import VALUE_ERRORS, shown
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.files import expand_user
from ppdiffusers.core.reading import parse_json, read_text

_FLAG = re.compile(r"--(\w+)(?:=|\s+)([^\s\"']+)")
_REQUIRED: Any = object()
_LARGEST_SETTINGS = 1 << 20  # bytes
T = TypeVar("T")


class Settings:
    """Values by dotted names ("model.params.timesteps"), each read with its type.

    A missing or wrong value is recorded as a problem and replaced by a placeholder, so that `raise_problems` can report
    everything at once.
    """

    def __init__(self, values: Mapping[str, Any], where: object = None, overrides: Iterable[str] = ()):
        self.values = flattened(values)
        self.where = where
        self.overrides = set(overrides)  # names given one by one: each of them must be used
        self.problems: list[str] = []
        self._prefix = ""
        self._used: set[str] = set()

    def renamed(self, table: Mapping[str, str]) -> Settings:
        """Return the same values with the names in `table` replaced."""
        values = {table.get(name, name): value for name, value in self.values.items()}
        return Settings(values, self.where, (table.get(name, name) for name in self.overrides))

    def section(self, prefix: str) -> Settings:
        """Return a view of the values whose names start with `prefix`, read without it; problems are shared."""
        inside = copy(self)
        inside._prefix = self._prefix + prefix
        return inside

    def integer(self, name: str, default: int = _REQUIRED) -> int:
        return self._read(name, default, _integer, "an integer", 1)

    def number(self, name: str, default: float = _REQUIRED) -> float:
        return self._read(name, default, _number, "a number", 1.0)

    def boolean(self, name: str, default: bool = _REQUIRED) -> bool:
        return self._read(name, default, _boolean, "True or False", False)

    def text(self, name: str, default: str = _REQUIRED) -> str:
        return self._read(name, default, str, "a string", "")

    def integers(self, name: str, default: T = _REQUIRED) -> list[int] | T:
        return self._read(name, default, _integers, "integers, such as 32,16,8", [1])

    def integer_lists(self, name: str, default: T = _REQUIRED) -> list[list[int]] | T:
        return self._read(name, default, _integer_lists, "lists of integers, such as [[1,3,5],[1,3,5]]", [[1]])

    def expect(self, name: str, *supported: Any, default: Any = _REQUIRED) -> Any:
        """Read a value that must be one of `supported`: networks with other values cannot be built."""
        convert = _boolean if isinstance(supported[0], bool) else _unchanged
        value = self._read(name, default, convert, " or ".join(map(repr, supported)), supported[0])
        value = value.lower() if isinstance(value, str) else value
        if value not in supported:
            known = " or ".join(map(repr, supported))
            self.add_problem(f"{self._prefix}{name} is {value!r}: only {known} is supported")
            return supported[0]
        return value

    def add_problem(self, problem: str) -> None:
        """Record a problem."""
        self.problems.append(problem)

    def raise_problems(self, sections: Iterable[str] = (), ignored: Iterable[str] = ()) -> None:
        """Raise ConfigError if there were problems, or unknown values.

        Args:
            sections: prefixes of names; a value with such a prefix that was not read is unknown.
            ignored: names of values that do not change the result.
        """
        known = self._used | set(ignored)
        strict = {name for name in self.values if name.startswith(tuple(sections))} | self.overrides
        unknown = [name for name in self.values if name in strict - known]
        problems = [*self.problems, *(f"{name} is unknown (its value is {self.values[name]!r})" for name in unknown)]
        if problems:
            raise ConfigError(
                "The configuration of the original cannot be converted.",
                where=self.where,
                problems=problems,
                remedy="pass the configuration of the original repository with --config, single values with --set.",
            )

    def _read(self, name: str, default: Any, convert: Callable[[Any], Any], expected: str, placeholder: Any) -> Any:
        name = self._prefix + name
        self._used.add(name)
        if self.values.get(name) in (None, ""):
            if default is _REQUIRED:
                self.add_problem(f"{name} is missing; expected {expected}")
                return placeholder
            return default
        try:
            return convert(self.values[name])
        except (TypeError, ValueError, OverflowError):
            self.add_problem(f"{name} is {shown(self.values[name])}; expected {expected}")
            return placeholder


def read_settings(
    config: str | os.PathLike | Mapping[str, Any] | None, overrides: Sequence[str] = (), flags: bool = True
) -> Settings:
    """Read the configuration of an original, and override single values.

    Args:
        config: a `.yaml`, `.yml` or `.json` file, a text file with flags ("--image_size 64 --num_channels 128"), or
            the content of such a file; None if all values are in `overrides`.
        overrides: "name=value", with dotted names for nested values.
        flags: a file with another ending has flags; otherwise it is YAML.

    Raises:
        ConfigError: the file is missing or cannot be parsed, or an override has no "=".
    """
    values: dict[str, Any] = {}
    if config is not None:
        values = flattened(config) if isinstance(config, Mapping) else _read_file(expand_user(config), flags)
    malformed = [override for override in overrides if not re.match(r"[\w.]+=", override)]
    if malformed:
        raise ConfigError("A setting has no name.", problems=malformed, expected="--set name=value")
    single: dict[str, Any] = {}
    for override in overrides:
        name, _, value = override.partition("=")
        single.update(flattened({name: _parse_yaml(value, "--set")}))
    return Settings({**values, **single}, None if isinstance(config, Mapping) else config, single)


def parse_settings(text: str, where: object) -> Settings:
    """Parse the content of a YAML or JSON file.

    Raises:
        ConfigError: it is neither, such as a web page.
    """
    values = _parse_yaml(text, where)
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            "The configuration of the original contains no values.",
            where=where,
            expected="a YAML or JSON file with names and values; on GitHub, its raw address",
        )
    return Settings(values, where)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found.update(flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return found


def _read_file(path: Path, flags: bool) -> dict[str, Any]:
    try:
        text = read_text(path, _LARGEST_SETTINGS)
    except ConfigError as error:
        raise ConfigError(
            "The configuration of the original cannot be read.", where=path, problems=[str(error)]
        ) from error
    if path.suffix == ".json":
        try:
            values = parse_json(text, path)
        except ValueError as error:
            raise ConfigError(
                "The configuration of the original is not valid JSON.", where=path, problems=[str(error)]
            ) from error
    elif path.suffix in (".yaml", ".yml") or not flags:
        values = _parse_yaml(text, path)
    else:
        values = dict(_FLAG.findall(text))
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            "The configuration of the original contains no values.",
            where=path,
            expected="a .yaml or .json file with names and values, or a text file with flags: --image_size 64",
        )
    return flattened(values)


def _parse_yaml(text: str, where: object) -> Any:
    import yaml  # only needed here

    class Loader(yaml.SafeLoader):
        """Safe YAML that reads tagged Python objects as plain values: a tag never creates an object.

        Aliases are refused: a few lines of them can stand for billions of values.
        """

        def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError(f"an alias (*name) is not supported{self.peek_event().start_mark}")
            return super().compose_node(parent, index)

    def plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("", plain)
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, *VALUE_ERRORS) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:1000]
        raise ConfigError(
            "The configuration of the original is not valid YAML.", where=where, problems=[problem]
        ) from error


def _unchanged(value: T) -> T:
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError(value)
    return int(float(value))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _boolean(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _integers(value: Any) -> list[int]:
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [_integer(part) for part in parts]


def _integer_lists(value: Any) -> list[list[int]]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(value)
    return [_integers(part) for part in value]
