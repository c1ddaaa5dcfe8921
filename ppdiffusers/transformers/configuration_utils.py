"""Base class of the encoders' configurations, saved as transformers' config.json."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ppdiffusers.core.config_types import check_like_defaults
from ppdiffusers.core.files import expand_user, replace_file
from ppdiffusers.core.reading import read_json
from ppdiffusers.io.required_files import NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder

if TYPE_CHECKING:
    from typing_extensions import Self


class PretrainedConfig:
    """Base class of the configurations: keyword arguments become attributes.

    `defaults` contains the keys that a model reads. Further keys of a config.json are kept and saved unchanged.
    """

    model_type: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any]] = {}
    config_name: ClassVar[str] = "config.json"

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any: ...  # the keys of `defaults` and of the configuration's file

    def __init__(self, **kwargs: Any):
        check_like_defaults(type(self).__name__, kwargs, self.defaults)
        for key, value in {**copy.deepcopy(dict(self.defaults)), **kwargs}.items():
            if key != "model_type":
                setattr(self, key, value)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Any) -> Self:
        return cls(**{**config, **overrides})

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **overrides: Any) -> Self:
        """Load config.json from a folder or a hub repository; `overrides` replace its values."""
        options = pop_hub_options(overrides)
        folder = resolve_folder(name_or_path, subfolder, NamedFiles((cls.config_name,)), options)
        return cls.from_dict(read_json(Path(folder) / cls.config_name), **overrides)

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    def to_dict(self) -> dict[str, Any]:
        """Return all keys as JSON types; nested configurations are dictionaries."""
        plain = {k: v.to_dict() if isinstance(v, PretrainedConfig) else v for k, v in vars(self).items()}
        return {"model_type": self.model_type, **plain}

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return the configuration as JSON; `use_diff` leaves out the values that are defaults of the class."""
        values = self.to_dict()
        if use_diff:
            defaults = type(self)().to_dict()
            values = {k: v for k, v in values.items() if k == "model_type" or k not in defaults or v != defaults[k]}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write config.json."""
        with replace_file(expand_user(save_directory) / self.config_name) as staging:
            staging.write_text(self.to_json_string(use_diff=False), encoding="utf-8")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretrainedConfig) and self.to_dict() == other.to_dict()

    __hash__ = None

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string(use_diff=False)}"
