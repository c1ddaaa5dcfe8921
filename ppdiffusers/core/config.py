"""Configurations: what a class was made with, readable as attributes, kept as JSON, made again from it."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.files import replace_file
from ppdiffusers.version import __version__

# Where an object was loaded from, and which release wrote the file: what old releases wrote has to be mended.
_KEPT_PRIVATE_KEYS = ("_name_or_path", "_diffusers_version")


class FrozenDict(dict):
    """A dictionary whose keys are attributes too and that cannot be changed in place."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"The configuration has no key {name!r}; it has: {', '.join(self)}.") from None

    def _refuse(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("A configuration is frozen: call `register_to_config(key=value)` to change it.")

    __setitem__ = __delitem__ = __setattr__ = __delattr__ = _refuse
    pop = popitem = setdefault = update = clear = __ior__ = _refuse

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)


class ConfigMixin:
    """What models, schedulers and pipelines share: `config`, `from_config`, `save_config`, `load_config`.

    Class attributes a subclass may set:
        config_name: the name of its JSON file, such as "config.json".
        ignore_for_config: `__init__` arguments that are not recorded.
        ignored_config_keys: keys that other releases write and that change nothing here.
        renamed_config_keys: old key -> the `__init__` argument that it is now.
    """

    config_name: str | None = None
    ignore_for_config: tuple[str, ...] = ()
    ignored_config_keys: tuple[str, ...] = ()
    renamed_config_keys: Mapping[str, str] = {}

    @property
    def config(self) -> FrozenDict:
        """All recorded arguments, defaults included."""
        return self.__dict__.get("_internal_dict", FrozenDict())

    def register_to_config(self, **kwargs: Any) -> None:
        """Record `kwargs` in the configuration, over what it had."""
        merged = {**self.config, **kwargs}
        # object.__setattr__: nn.Layer's own would look for parameters in it
        object.__setattr__(self, "_internal_dict", FrozenDict(merged))

    # -- making an object from a configuration --------------------------------------------------------------

    @classmethod
    def from_config(cls, config: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Make an object of this class from a configuration, with `kwargs` over it.

        The configuration may come from a compatible class (one scheduler made from another's): keys that
        only the other knows are kept in `.config` and have no effect.

        Raises:
            ConfigError: a key that no class concerned knows is switched on; all of them are listed.
        """
        if not isinstance(config, Mapping):
            raise ConfigError(
                f"{cls.__name__}.from_config takes a configuration (a mapping), not {type(config).__name__}.",
                remedy=f"{cls.__name__}.from_pretrained(path) loads from a folder.",
            )
        init_kwargs, extra, unused = cls.split_config(config, kwargs)
        made = cls(**init_kwargs)
        made.register_to_config(**extra)
        return (made, unused) if return_unused_kwargs else made

    @classmethod
    def split_config(
        cls, config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Sort a configuration into (`__init__` arguments, keys that are only carried along, unused overrides)."""
        overrides = dict(overrides or {})
        # What was never chosen where the configuration comes from is not imposed on the class it goes to.
        defaulted = set(config.get("_use_default_values", ()))
        chosen = {key: value for key, value in config.items() if key not in defaulted}
        known = cls.init_parameters()
        for source in (chosen, overrides):
            for old, new in cls.renamed_config_keys.items():
                if old in source and new not in source:
                    source[new] = source.pop(old)
        init_kwargs = {key: value for key, value in chosen.items() if key in known}
        extra = {
            key: value
            for key, value in chosen.items()
            if key not in known and (not key.startswith("_") or key in _KEPT_PRIVATE_KEYS)
        }
        cls._refuse_unknown(extra)
        init_kwargs.update({key: value for key, value in overrides.items() if key in known})
        unused = {key: value for key, value in overrides.items() if key not in known}
        return init_kwargs, extra, unused

    @classmethod
    def init_parameters(cls) -> tuple[str, ...]:
        """Names of the arguments of `__init__` that can be configured."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return tuple(name for name in named if name != "self" and name not in cls.ignore_for_config)

    @classmethod
    def compatible_config_keys(cls) -> set[str]:
        """Keys of classes whose configurations this one accepts; schedulers widen it."""
        return set()

    @classmethod
    def _refuse_unknown(cls, extra: Mapping[str, Any]) -> None:
        harmless = {*_KEPT_PRIVATE_KEYS, *cls.ignored_config_keys}
        # None and False switch a feature off: a newer release's key that is off changes nothing.
        unknown = {k: v for k, v in extra.items() if k not in harmless and v is not None and v is not False}
        if unknown and (unknown := {k: v for k, v in unknown.items() if k not in cls.compatible_config_keys()}):
            raise ConfigError(
                f"The configuration of {cls.__name__} has keys that this version does not know and that may "
                "change the result.",
                problems=[f"{key} = {value!r}" for key, value in unknown.items()],
                expected=f"only {', '.join(cls.init_parameters())}",
                remedy="remove the keys from the configuration if they do not matter, or update ppdiffusers.",
            )

    # -- files ----------------------------------------------------------------------------------------------

    @classmethod
    def load_config(cls, path: str | os.PathLike) -> dict[str, Any]:
        """Read the configuration from a local folder (its `config_name`) or from a JSON file."""
        path = Path(path)
        return read_json(path / str(cls.config_name) if path.is_dir() else path)

    def save_config(self, save_directory: str | os.PathLike) -> Path:
        """Write the configuration as JSON into the folder, which is made if it is not there."""
        path = Path(save_directory) / str(self.config_name)
        with replace_file(path) as staging:
            staging.write_text(self.to_json_string(), encoding="utf-8")
        return path

    def to_json_dict(self) -> dict[str, Any]:
        """The configuration in plain JSON types, with the class name and our version in front."""
        recorded = {k: _to_json(v) for k, v in self.config.items() if k not in ("_use_default_values", "_name_or_path")}
        head = {"_class_name": type(self).__name__, "_ppdiffusers_version": __version__}
        return {**head, **{k: v for k, v in sorted(recorded.items()) if k not in head}}

    def to_json_string(self) -> str:
        return json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False) + "\n"


def register_to_config(init: Callable) -> Callable:
    """Decorator for `__init__`: records its arguments, defaults included, before the body runs."""

    @functools.wraps(init)
    def wrapper(self: ConfigMixin, *args: Any, **kwargs: Any) -> None:
        # keys of a configuration such as "_name_or_path" are recorded and are not arguments, as in diffusers
        private = {key: kwargs.pop(key) for key in tuple(kwargs) if key.startswith("_")}
        signature = inspect.signature(init)
        bound = signature.bind(self, *args, **kwargs)
        given = set(bound.arguments)
        bound.apply_defaults()
        recorded = {k: v for k, v in bound.arguments.items() if k in type(self).init_parameters()}
        defaulted = sorted(key for key in recorded if key not in given)
        self.register_to_config(**{**private, **recorded, "_use_default_values": defaulted})
        init(self, *args, **kwargs)

    return wrapper


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        ConfigError: there is no such file, it is not UTF-8 JSON, or it is not an object.
    """
    path = Path(path)
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("A configuration file is missing.", where=path, remedy="check the path.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"A configuration file is not readable JSON: {error}.",
            where=path,
            remedy="fetch or save the file again: it is truncated or damaged.",
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError("A configuration file does not hold a JSON object.", where=path, expected="{...}")
    return loaded


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(k): _to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(v) for v in value]
    return value
