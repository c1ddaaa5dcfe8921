"""The tokenizer that a folder names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ppdiffusers import registry
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json
from ppdiffusers.io.required_files import MODEL_CONFIGS, TOKENIZER_FILES, VOCABULARIES, NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.transformers.tokenization_utils import PretrainedTokenizer

# `model_type` of a configuration -> tokenizer, for folders that do not name one
_BY_MODEL_TYPE = {
    "clip": "CLIPTokenizer",
    "clip_text_model": "CLIPTokenizer",
    "bert": "BertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "t5": "T5Tokenizer",
}


class AutoTokenizer:
    """Loads the tokenizer whose class a folder names; see `from_pretrained`."""

    def __init__(self) -> None:
        raise TypeError("AutoTokenizer has no objects: call AutoTokenizer.from_pretrained(name_or_path).")

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike, subfolder: str | None = None, use_fast: bool = True, **kwargs: Any
    ) -> PretrainedTokenizer:
        """Load the tokenizer of a folder or a repository.

        Its class is `tokenizer_class` of tokenizer_config.json, or follows from the `model_type` of config.json.

        Args:
            name_or_path: a folder, or the name of a repository.
            subfolder: folder of the tokenizer in it.
            use_fast: prefer the class that reads tokenizer.json, if the folder has this file.
            kwargs: settings and hub options, as for `CLIPTokenizer.from_pretrained`.

        Raises:
            ConfigError: the folder names no tokenizer, or an unknown one.
        """
        options = pop_hub_options(dict(kwargs))
        files = NamedFiles((*TOKENIZER_FILES, *MODEL_CONFIGS), VOCABULARIES)
        folder = resolve_folder(name_or_path, subfolder, files, options)
        name = _class_name(folder)
        entry, fast = registry.find(name), registry.find(f"{name}Fast")
        if use_fast and fast is not None and (folder / "tokenizer.json").is_file():
            entry = fast
        if entry is None or entry.kind != "tokenizer":
            known = sorted(entry.name for entry in registry.entries("tokenizer"))
            raise ConfigError(
                f"The folder names an unknown tokenizer {name!r}."
                if name
                else "The folder does not name its tokenizer.",
                where=folder,
                expected=f"`tokenizer_class` in {PretrainedTokenizer.config_file}: one of {', '.join(known)}",
                remedy="load it with its own class, such as CLIPTokenizer.from_pretrained.",
            )
        tokenizer: PretrainedTokenizer = entry.load().from_pretrained(name_or_path, subfolder, **kwargs)
        return tokenizer


def _class_name(folder: Path) -> str:
    """Return the name of the tokenizer's class, without "Fast"; "" if the folder does not have it."""
    named = _setting(folder / PretrainedTokenizer.config_file, "tokenizer_class")
    for name in MODEL_CONFIGS:
        named = named or _setting(folder / name, "tokenizer_class")
        named = named or _BY_MODEL_TYPE.get(_setting(folder / name, "model_type"), "")
    return named.removesuffix("Fast")


def _setting(file: Path, key: str) -> str:
    """Return a string of a JSON file; "" if either does not exist."""
    settings = read_json(file) if file.is_file() else {}
    value = settings.get(key) if isinstance(settings, dict) else None
    return value if isinstance(value, str) else ""
