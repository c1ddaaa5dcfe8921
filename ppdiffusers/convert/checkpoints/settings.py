"""The configuration of an original repository: YAML, JSON or command-line flags, taken key by key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import ConfigError

_FLAG = re.compile(r"--(\w+)(?:=|\s+)([^\s\"']+)")
_REQUIRED = object()


class Settings:
    """Values by dotted names ("model.params.timesteps"), taken with the type that they must have.

    What is missing or wrong is noted, and a stand-in is given, so that `finish` can report everything at once.
    """

    def __init__(self, values: Mapping[str, Any], where: object = None, singled_out: Iterable[str] = ()):
        self.values = flattened(values)
        self.where = where
        self.singled_out = set(singled_out)  # given one by one: each of them has to mean something
        self.problems: list[str] = []
        self._prefix = ""
        self._taken: set[str] = set()

    def renamed(self, table: Mapping[str, str]) -> Settings:
        """The same values under other names, where `table` has one."""
        values = {table.get(name, name): value for name, value in self.values.items()}
        return Settings(values, self.where, (table.get(name, name) for name in self.singled_out))

    def section(self, prefix: str) -> Settings:
        """The same settings, asked for without the beginning that their names share."""
        inside = copy(self)
        inside._prefix = self._prefix + prefix
        return inside

    def integer(self, name: str, default: Any = _REQUIRED) -> int:
        return self._take(name, default, _integer, "a number without fractions", 1)

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        return self._take(name, default, _number, "a number", 1.0)

    def switch(self, name: str, default: Any = _REQUIRED) -> bool:
        return self._take(name, default, _switch, "True or False", False)

    def text(self, name: str, default: Any = _REQUIRED) -> str:
        return self._take(name, default, str, "a word", "")

    def integers(self, name: str, default: Any = _REQUIRED) -> list[int]:
        return self._take(name, default, _integers, "numbers, such as 32,16,8", [1])

    def expect(self, name: str, *supported: Any, default: Any = _REQUIRED) -> Any:
        """The value, which has to be one of `supported`: networks with another cannot be built of our parts."""
        convert = _switch if isinstance(supported[0], bool) else _as_it_is
        value = self._take(name, default, convert, " or ".join(map(repr, supported)), supported[0])
        plain = value.lower() if isinstance(value, str) else value
        if plain not in supported:
            only = " or ".join(map(repr, supported))
            self.refuse(f"{self._prefix}{name} is {value!r}: only {only} can be converted")
            return supported[0]
        return plain

    def refuse(self, problem: str) -> None:
        """Note something that is wrong."""
        self.problems.append(problem)

    def finish(self, sections: Iterable[str] = (), harmless: Iterable[str] = ()) -> None:
        """Raise ConfigError if anything was wrong, or was not understood.

        Args:
            sections: beginnings of names; what begins so and was never asked for is a problem.
            harmless: names that change nothing.
        """
        known = self._taken | set(harmless)
        strict = {name for name in self.values if name.startswith(tuple(sections))} | self.singled_out
        left = [name for name in self.values if name in strict - known]
        problems = [*self.problems, *(f"{name} is not known; it says {self.values[name]!r}" for name in left)]
        if problems:
            raise ConfigError(
                "The original's configuration cannot be converted.",
                where=self.where,
                problems=problems,
                remedy="give the configuration of the original repository with --config, single values with --set.",
            )

    def _take(self, name: str, default: Any, convert: Any, expected: str, stand_in: Any) -> Any:
        name = self._prefix + name
        self._taken.add(name)
        if self.values.get(name) in (None, ""):
            if default is _REQUIRED:
                self.refuse(f"{name} is missing; expected: {expected}")
                return stand_in
            return default
        try:
            return convert(self.values[name])
        except (TypeError, ValueError):
            self.refuse(f"{name} is {self.values[name]!r}; expected: {expected}")
            return stand_in


def read_settings(config: str | os.PathLike | Mapping[str, Any] | None, pairs: Sequence[str] = ()) -> Settings:
    """The configuration of an original, with single values replaced.

    Args:
        config: a `.yaml`, `.yml` or `.json` file, a text file with flags ("--image_size 64 --num_channels 128"), or
            what such a file holds; None where everything is in `pairs`.
        pairs: "name=value", names dotted where they are nested.

    Raises:
        ConfigError: the file is missing or cannot be read, or a pair has no "=".
    """
    values = flattened(config) if isinstance(config, Mapping) else {} if config is None else _read(Path(config))
    wrong = [pair for pair in pairs if not re.match(r"[\w.]+=", pair)]
    if wrong:
        raise ConfigError("A single value has no name.", problems=wrong, expected="--set name=value")
    single: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        single.update(flattened({name: _parsed_yaml(value, "--set")}))
    return Settings({**values, **single}, None if isinstance(config, Mapping) else config, single)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found.update(flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The original's configuration cannot be read.", where=path, problems=[str(error)]) from error
    if path.suffix == ".json":
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError("The original's configuration is no JSON.", where=path, problems=[str(error)]) from error
    elif path.suffix in (".yaml", ".yml"):
        values = _parsed_yaml(text, path)
    else:
        values = dict(_FLAG.findall(text))
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            "The original's configuration names no values.",
            where=path,
            expected="a .yaml or .json file with names and values, or a text file with flags: --image_size 64",
        )
    return flattened(values)


def _parsed_yaml(text: str, where: object) -> Any:
    import yaml  # needed here only

    class Loader(yaml.SafeLoader):
        """Plain YAML, and the plain content of what is tagged as a Python object: nothing is ever made of a tag."""

    def plain(loader: Any, _: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("", plain)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError("The original's configuration is no YAML.", where=where, problems=[str(error)]) from error


def _as_it_is(value: Any) -> Any:
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError(value)
    return int(float(value))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _switch(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _integers(value: Any) -> list[int]:
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [_integer(part) for part in parts]
