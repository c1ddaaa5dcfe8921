"""Configurations: the arguments of a class, recorded, readable as attributes, and saved as JSON."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ppdiffusers.core.config_types import create
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.files import expand_user, replace_file
from ppdiffusers.core.reading import read_json
from ppdiffusers.core.saving import complete_save
from ppdiffusers.version import __version__

logger = logging.getLogger(__name__)

# Where an object was loaded from, its class, and the releases that wrote the file: files of old releases need fixes.
_KEPT_PRIVATE_KEYS = ("_name_or_path", "_class_name", "_diffusers_version", "_ppdiffusers_version")


class FrozenDict(dict):
    """An immutable dictionary whose keys are also attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"The configuration has no key {name!r}; it has: {', '.join(self)}.") from None

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("A configuration is frozen: call `register_to_config(key=value)` to change it.")

    if not TYPE_CHECKING:  # their signatures differ from the base class on purpose
        __setitem__ = __delitem__ = __setattr__ = __delattr__ = _refuse
        pop = popitem = setdefault = update = clear = __ior__ = _refuse

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)


class ConfigMixin:
    """Configuration methods of models, schedulers and pipelines: `from_config`, `save_config`, `load_config`.

    Class attributes a subclass may set:
        config_name: the name of its JSON file, such as "config.json".
        ignore_for_config: `__init__` arguments that are not recorded.
        ignored_config_keys: keys that other releases write and that have no effect here.
        renamed_config_keys: legacy key -> its current `__init__` argument.
        _deprecated_kwargs: names that `__init__` accepts in its `**kwargs`; they are not recorded.
    """

    config_name: str | None = None
    ignore_for_config: tuple[str, ...] = ()
    ignored_config_keys: tuple[str, ...] = ()
    renamed_config_keys: Mapping[str, str] = {}
    _deprecated_kwargs: Sequence[str] = ()

    @property
    def config(self) -> FrozenDict:
        """Return all recorded arguments, including defaults."""
        return self.__dict__.get("_internal_dict", FrozenDict())

    def __getattr__(self, name: str) -> Any:
        """Return a value of the configuration as an attribute, as deprecated scripts access it."""
        fallback = getattr(super(), "__getattr__", None)  # of nn.Layer: parameters and sublayers
        try:
            if fallback is not None:
                return fallback(name)
        except AttributeError:
            pass
        if name.startswith("_") or name not in self.__dict__.get("_internal_dict", ()):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn(
            f"Accessing `{name}` of the configuration as an attribute of {type(self).__name__} is deprecated: use "
            f"`config.{name}`.",
            FutureWarning,
            stacklevel=2,
        )
        return self.__dict__["_internal_dict"][name]

    def __repr__(self) -> str:
        """Return the class and the configuration as JSON, as diffusers does."""
        path = {"_name_or_path": self.config["_name_or_path"]} if "_name_or_path" in self.config else {}
        return f"{type(self).__name__} {json.dumps({**path, **self.to_json_dict()}, indent=2, default=repr)}\n"

    def register_to_config(self, **kwargs: Any) -> None:
        """Record `kwargs` in the configuration; they replace recorded values."""
        merged = {**self.config, **kwargs}
        # object.__setattr__, because that of nn.Layer would search the value for parameters
        object.__setattr__(self, "_internal_dict", FrozenDict(merged))

    # -- creating an object from a configuration-------------------------------------------------------------

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any] | str | os.PathLike, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """Create an object of this class from a configuration; `kwargs` replace its values.

        The configuration may be that of a compatible class (a scheduler from that of another one): keys that only
        the other class knows are kept in `.config` and have no effect.

        Unknown keys are kept in `.config`, too; a warning lists those that are set.

        A folder or the name of a model, with `subfolder=` and the options of hubs, is deprecated, as in diffusers.

        Raises:
            ConfigError: values have wrong types; all of them are listed.
        """
        if isinstance(config, (str, os.PathLike)):
            warnings.warn(
                f"Passing a path or a name to `{cls.__name__}.from_config` is deprecated: pass "
                f"`{cls.__name__}.load_config(...)`.",
                FutureWarning,
                stacklevel=2,
            )
            config, kwargs = cls.load_config(config, return_unused_kwargs=True, **kwargs)
        if not isinstance(config, Mapping):
            raise ConfigError(
                f"{cls.__name__}.from_config takes a configuration (a mapping), not {type(config).__name__}.",
                remedy=f"{cls.__name__}.from_pretrained(path) loads from a folder.",
            )
        init_kwargs, extra, unused = cls.split_config(config, kwargs)
        deprecated = {key: unused.pop(key) for key in cls._deprecated_kwargs if key in unused}
        made = create(cls, {**init_kwargs, **deprecated})
        if "_class_name" in extra:
            extra["_class_name"] = cls.__name__  # the configuration may be that of a compatible class
        made.register_to_config(**extra)
        return (made, unused) if return_unused_kwargs else made

    @classmethod
    def split_config(
        cls, config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Split a configuration into (`__init__` arguments, additional keys to keep, unused overrides)."""
        overrides = dict(overrides or {})
        # Default values of the class that wrote the configuration do not replace the defaults of this class.
        defaulted = set(config.get("_use_default_values", ()))
        chosen = {key: value for key, value in config.items() if key not in defaulted}
        known = cls.init_parameters()
        for values in (chosen, overrides):
            for old, new in cls.renamed_config_keys.items():
                if old in values and new not in values:
                    values[new] = values.pop(old)
        init_kwargs = {key: value for key, value in chosen.items() if key in known}
        extra = {
            key: value
            for key, value in chosen.items()
            if key not in known and (not key.startswith("_") or key in _KEPT_PRIVATE_KEYS)
        }
        cls._warn_about_unknown_keys(extra)
        init_kwargs.update({key: value for key, value in overrides.items() if key in known})
        unused = {key: value for key, value in overrides.items() if key not in known}
        return init_kwargs, extra, unused

    @classmethod
    def init_parameters(cls) -> tuple[str, ...]:
        """Return the names of the `__init__` arguments that are recorded."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return tuple(name for name in named if name != "self" and name not in cls.ignore_for_config)

    @classmethod
    def compatible_config_keys(cls) -> set[str]:
        """Return the keys of classes whose configurations this class accepts; schedulers override it."""
        return set()

    @classmethod
    def _warn_about_unknown_keys(cls, extra: Mapping[str, Any]) -> None:
        harmless = {*_KEPT_PRIVATE_KEYS, *cls.ignored_config_keys}
        # None and False disable a feature: a key of a newer release with such a value has no effect.
        unknown = {k: v for k, v in extra.items() if k not in harmless and v is not None and v is not False}
        if unknown and (unknown := {k: v for k, v in unknown.items() if k not in cls.compatible_config_keys()}):
            logger.warning(
                "The configuration of %s has unknown keys, which have no effect: %s. Remove those that are not needed, "
                "otherwise update ppdiffusers.",
                cls.__name__,
                ", ".join(f"{key}={value!r}" for key, value in unknown.items()),
            )

    # -- files ----------------------------------------------------------------------------------------------

    @classmethod
    def load_config(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        return_unused_kwargs: bool = False,
        return_commit_hash: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Read the configuration from a local folder (its `config_name`) or from a JSON file.

        Args:
            pretrained_model_name_or_path: the folder or file; classes that are loaded from hubs accept names, too.
            return_unused_kwargs: return (configuration, arguments that are not options of loading).
            return_commit_hash: append the commit of a downloaded model, None for a folder.
            kwargs: `subfolder`.
        """
        path = expand_user(pretrained_model_name_or_path)
        complete_save(path)
        if (subfolder := kwargs.pop("subfolder", None)) is not None:
            path = path / subfolder
        found = read_json(path / str(cls.config_name) if path.is_dir() else path)
        return config_result(found, kwargs, None, return_unused_kwargs, return_commit_hash)

    def save_config(self, save_directory: str | os.PathLike) -> Path:
        """Write the configuration as JSON into the folder, which is created if it does not exist."""
        path = expand_user(save_directory) / str(self.config_name)
        with replace_file(path) as staging:
            staging.write_text(self.to_json_string(), encoding="utf-8")
        return path

    def to_json_dict(self) -> dict[str, Any]:
        """Return the configuration in JSON types, after the class name and the version of ppdiffusers."""
        recorded = {k: _to_json(v) for k, v in self.config.items() if k not in ("_use_default_values", "_name_or_path")}
        head = {"_class_name": type(self).__name__, "_ppdiffusers_version": __version__}
        return {**head, **{k: v for k, v in sorted(recorded.items()) if k not in head}}

    def to_json_string(self) -> str:
        return json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False) + "\n"


def config_result(
    config: dict[str, Any], unused: dict[str, Any], commit: str | None, with_unused: bool, with_commit: bool
) -> Any:
    """Return what `load_config` returns: the configuration alone, or a tuple."""
    found = (config, *((unused,) if with_unused else ()), *((commit,) if with_commit else ()))
    return found if len(found) > 1 else config


def register_to_config(init: Callable) -> Callable:
    """Decorate `__init__` so that its arguments, including defaults, are recorded before its body runs."""

    @functools.wraps(init)
    def wrapper(self: ConfigMixin, *args: Any, **kwargs: Any) -> None:
        # keys of a configuration such as "_name_or_path" are recorded and are not arguments, as in diffusers
        private = {key: kwargs.pop(key) for key in tuple(kwargs) if key.startswith("_")}
        signature = inspect.signature(init)
        if "_use_default_values" in private:  # the arguments are a configuration, with keys that only others know
            unknown = {key: kwargs.pop(key) for key in tuple(kwargs) if key not in signature.parameters}
            type(self)._warn_about_unknown_keys(unknown)
            private |= unknown
        bound = signature.bind(self, *args, **kwargs)
        given = set(bound.arguments)
        bound.apply_defaults()
        recorded = {k: v for k, v in bound.arguments.items() if k in type(self).init_parameters()}
        of_others = private.get("_use_default_values", ())
        given -= {k for k in of_others if k in recorded and _is_default(recorded[k], k, init)}
        defaulted = sorted(key for key in recorded if key not in given)
        private |= {"_class_name": type(self).__name__, "_use_default_values": defaulted}
        if not defaulted:
            del private["_use_default_values"]
        self.register_to_config(**{"_ppdiffusers_version": __version__, **recorded, **private})
        init(self, *args, **kwargs)

    return wrapper


def _is_default(value: object, name: str, init: Callable) -> bool:
    """Return whether a value is the default of an argument; a sequence may be the list that a file has for a tuple."""
    default = inspect.signature(init).parameters[name].default
    return value is default or (isinstance(value, list) and isinstance(default, tuple) and value == list(default))


def _to_json(value: object) -> object:
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
