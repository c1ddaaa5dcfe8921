"""What a pipeline needs in addition to the weights of a single file: configurations, tokenizers, a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ppdiffusers import registry
from ppdiffusers.convert.model_index import INDEX_NAME, ModelIndex, parse_model_index
from ppdiffusers.convert.single_files.published import Family
from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.hubs.local import component_folder
from ppdiffusers.io.pretrained import find_weights, load_config_from
from ppdiffusers.registry import Entry


class Parts(Protocol):
    """Components and settings of a pipeline, without the weights of a single file.

    Attributes:
        settings: of the pipeline.
    """

    settings: Mapping[str, Any]

    def names(self) -> list[str]:
        """Return the names of the components."""

    def entry(self, name: str) -> Entry | None:
        """Return the class of a component; None if the pipeline is without it."""

    def config(self, name: str) -> Mapping[str, Any]:
        """Return the configuration of a network or scheduler."""

    def load(self, name: str) -> Any:
        """Load a component that has no weights."""

    def load_network(self, name: str, dtype: str | None) -> Any:
        """Load a network that the single file does not have; None if its weights are not here either."""


class PublishedParts:
    """Those of a published model, which ship with ppdiffusers."""

    def __init__(self, family: Family):
        self.family = family
        self.settings = family.settings

    def names(self) -> list[str]:
        return list(self.family.components)

    def entry(self, name: str) -> Entry | None:
        found = self.family.components.get(name)
        return None if found is None else registry.components()[found[0]]

    def config(self, name: str) -> Mapping[str, Any]:
        return self.family.components[name][1]

    def load(self, name: str) -> Any:
        class_name, config = self.family.components[name]
        cls = registry.components()[class_name].load()
        if hasattr(cls, "openai"):  # a tokenizer of CLIP
            return cls.openai(**config)
        return cls.from_config(config) if hasattr(cls, "from_config") else cls(**config)

    def load_network(self, name: str, dtype: str | None) -> Any:
        return None


class FolderParts:
    """Those of a folder in the format of diffusers or ppdiffusers.

    Args:
        given: components that the caller passes: their classes in the folder may be unknown.
        settings: names of the settings of the pipeline's class.
        replaced: component -> configuration in place of that in the folder.
    """

    def __init__(
        self,
        folder: Path,
        given: tuple[str, ...] = (),
        settings: tuple[str, ...] = (),
        replaced: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        self.folder = folder
        self.replaced = replaced or {}
        raw = {name: entry for name, entry in read_json(folder / INDEX_NAME).items() if name not in given}
        self.index: ModelIndex = parse_model_index(raw, settings=settings)
        self.settings = self.index.settings

    def names(self) -> list[str]:
        return list(self.index.components)

    def entry(self, name: str) -> Entry | None:
        component = self.index.components.get(name)
        return None if component is None else component.known

    def config(self, name: str) -> Mapping[str, Any]:
        if name in self.replaced:
            return self.replaced[name]
        entry = self._known(name)
        file = "scheduler_config.json" if entry.kind == "scheduler" else "config.json"
        return load_config_from(component_folder(self.folder, name, entry), file)

    def load(self, name: str) -> Any:
        entry = self._known(name)
        return entry.load().from_pretrained(component_folder(self.folder, name, entry))

    def load_network(self, name: str, dtype: str | None) -> Any:
        entry = self._known(name)
        cls, folder = entry.load(), component_folder(self.folder, name, entry)
        try:
            find_weights(folder, cls.weights_stems)
        except SourceError:
            return None
        return cls.from_pretrained(folder, paddle_dtype="auto" if dtype is None else dtype)

    def _known(self, name: str) -> Entry:
        entry = self.entry(name)
        assert entry is not None, name
        return entry
