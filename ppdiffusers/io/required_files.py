"""Which files of a model have to be downloaded: selected from the opened model before any download."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ppdiffusers.convert.model_index import INDEX_NAME, parse_model_index
from ppdiffusers.core.errors import ConfigError, SourceError
from ppdiffusers.io.hubs.base import HubModel, RemoteFile
from ppdiffusers.io.hubs.local import following_names
from ppdiffusers.io.names import check_file_name
from ppdiffusers.io.weight_names import (
    ALL_TORCH_STEMS,
    TORCH_STEMS,
    candidate_names,
    download_order,
    weight_map_of,
)
from ppdiffusers.registry import Entry

MODEL_CONFIGS = ("config.json", "model_config.json")
SCHEDULER_FILES = ("scheduler_config.json",)
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json",)
# A tokenizer's vocabulary is in one of these sets of files ...
VOCABULARIES = (
    ("vocab.json", "merges.txt"),
    ("tokenizer.json",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tokenizer.model",),
    ("vocab.txt",),
)
# ... and its settings are in these, where they exist.
TOKENIZER_FILES = (
    *dict.fromkeys(name for names in VOCABULARIES for name in names),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
SMALL_FILES = (*MODEL_CONFIGS, *SCHEDULER_FILES, *IMAGE_PROCESSOR_FILES, *TOKENIZER_FILES)


class RequiredFiles(Protocol):
    """The files that loading something needs."""

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        """Select the files in the folder `folder` of the model ("" for the model itself).

        Raises:
            SourceError: required files are missing; all of them are listed.
        """


@dataclass(frozen=True)
class NamedFiles:
    """The files of `names` that exist; they must include all files of at least one of the sets in `one_of`."""

    names: tuple[str, ...]
    one_of: tuple[tuple[str, ...], ...] = ()

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        model.look_up(_inside(folder, name) for name in self.names)
        found = _present(model, folder, self.names)
        sets = self.one_of or tuple((name,) for name in self.names)
        if not any(all(name in found for name in names) for names in sets):
            raise _missing(model, folder, " or ".join(" and ".join(names) for names in sets))
        return list(found.values())


@dataclass(frozen=True)
class FirstOf:
    """The first of `names` that exists."""

    names: tuple[str, ...]

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        model.look_up(_inside(folder, name) for name in self.names)
        found = _first(model, folder, self.names)
        if found is None:
            raise _missing(model, folder, " or ".join(self.names))
        return [found]


@dataclass(frozen=True)
class ModelFiles:
    """A configuration, and weights in the preferred format.

    Attributes:
        stems: file names, without suffixes, of PyTorch's weights.
        variant, use_safetensors: as in `from_pretrained`.
    """

    stems: tuple[str, ...] = ALL_TORCH_STEMS
    variant: str | None = None
    use_safetensors: bool | None = None

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        weights = download_order(candidate_names(self.stems, self.variant, self.use_safetensors))
        model.look_up(_inside(folder, name) for name in (*MODEL_CONFIGS, *weights))
        config, first = _first(model, folder, MODEL_CONFIGS), _first(model, folder, weights)
        if config is None or first is None:
            missing = [] if config else [" or ".join(MODEL_CONFIGS)]
            kind = "" if self.variant is None else f" of the variant {self.variant!r}"
            kind += {None: "", True: " as safetensors", False: " as pickles"}[self.use_safetensors]
            missing += [] if first else [f"weights{kind}: {', '.join(weights)}"]
            raise _missing(model, folder, *missing)
        shards = _shards(model, first) if first.path.endswith(".json") else []
        return [config, first, *shards]


@dataclass(frozen=True)
class PipelineFiles:
    """The components in `model_index.json`, without those that the caller passes.

    Attributes:
        only: names of the components of the pipeline's class; None for all components in the file.
        given: names of the components that the caller passes.
        variant, use_safetensors: as in `from_pretrained`.
        settings: names of the settings of the pipeline's class.
    """

    only: tuple[str, ...] | None = None
    given: tuple[str, ...] = ()
    variant: str | None = None
    use_safetensors: bool | None = None
    settings: tuple[str, ...] = ()

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        index_file = model.find(_inside(folder, INDEX_NAME))
        if index_file is None:
            raise _missing(model, folder, INDEX_NAME)
        raw = {k: v for k, v in model.read_json(index_file).items() if k not in self.given}
        index = parse_model_index(raw, settings=self.settings)
        wanted = {
            name: component.known
            for name, component in index.components.items()
            if component.known is not None and (self.only is None or name in self.only)
        }
        files, problems = [index_file], []
        for name, known in wanted.items():
            try:
                files += self._select(name, known, model, folder)
            except SourceError as error:
                problems += error.problems or [error.what]
        if problems:
            raise SourceError("The model is not complete on this hub.", where=model.where, problems=problems)
        return files

    def _select(self, name: str, known: Entry, model: HubModel, folder: str) -> list[RemoteFile]:
        """Select the component's files in its folder, or next to the index, as in models of 2022."""
        required = self._required_files(known)
        if known.networks_class:
            return self._select_networks(name, required, model, folder)
        try:
            return required.select(model, _inside(folder, name))
        except SourceError:
            if known.legacy_config:
                with suppress(SourceError):  # the error to raise is about its folder
                    return required.select(model, folder)
            raise

    @staticmethod
    def _select_networks(name: str, required: RequiredFiles, model: HubModel, folder: str) -> list[RemoteFile]:
        """Select the files of several networks, up to the first missing number."""
        files, names = required.select(model, _inside(folder, name)), [name]
        while True:
            candidates = {following: _inside(folder, following) for following in following_names(names)}
            model.look_up(_inside(inside, config) for inside in candidates.values() for config in MODEL_CONFIGS)
            present = [one for one, inside in candidates.items() if _first(model, inside, MODEL_CONFIGS) is not None]
            if not present:
                return files
            names.append(present[0])
            files += required.select(model, candidates[present[0]])

    def _required_files(self, known: Entry) -> RequiredFiles:
        if known.has_weights:
            stems = TORCH_STEMS.get(known.library, ALL_TORCH_STEMS)
            return ModelFiles(stems, self.variant, self.use_safetensors)
        if known.kind == "tokenizer":
            return NamedFiles(TOKENIZER_FILES, VOCABULARIES)
        if known.kind == "scheduler":
            return NamedFiles(SCHEDULER_FILES)
        if known.kind == "image_processor":
            return NamedFiles(IMAGE_PROCESSOR_FILES)
        return NamedFiles(SMALL_FILES)


@dataclass(frozen=True)
class PipelineConfigs(PipelineFiles):
    """The same without the weights: what a pipeline needs in addition to a single file."""

    def _required_files(self, known: Entry) -> RequiredFiles:
        return NamedFiles(MODEL_CONFIGS) if known.has_weights else super()._required_files(known)


@dataclass(frozen=True)
class Configs:
    """The configurations of a pipeline if the folder has a `model_index.json`, otherwise that of one network."""

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        is_pipeline = model.find(_inside(folder, INDEX_NAME)) is not None
        return (PipelineConfigs() if is_pipeline else NamedFiles(MODEL_CONFIGS)).select(model, folder)


@dataclass(frozen=True)
class AllFiles:
    """A pipeline if the folder has a `model_index.json`, otherwise one component."""

    variant: str | None = None
    use_safetensors: bool | None = None

    def select(self, model: HubModel, folder: str) -> list[RemoteFile]:
        if model.find(_inside(folder, INDEX_NAME)) is not None:
            return PipelineFiles(variant=self.variant, use_safetensors=self.use_safetensors).select(model, folder)
        model.look_up(_inside(folder, name) for name in SMALL_FILES)
        small = list(_present(model, folder, SMALL_FILES).values())
        if not small:
            raise _missing(model, folder, f"{INDEX_NAME}, and no file of a single component")
        configured = any(file.path.rpartition("/")[2] in MODEL_CONFIGS for file in small)
        weights = candidate_names(ALL_TORCH_STEMS, self.variant, self.use_safetensors) if configured else []
        model.look_up(_inside(folder, name) for name in weights)
        chosen = configured and (self.variant is not None or self.use_safetensors is not None)
        if not chosen and _first(model, folder, weights) is None:
            return small  # a configuration alone, such as a scheduler's or a tokenizer's
        network = ModelFiles(ALL_TORCH_STEMS, self.variant, self.use_safetensors).select(model, folder)
        return list({file.path: file for file in (*small, *network)}.values())


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _present(model: HubModel, folder: str, names: Iterable[str]) -> dict[str, RemoteFile]:
    found = {name: model.find(_inside(folder, name)) for name in names}
    return {name: file for name, file in found.items() if file is not None}


def _first(model: HubModel, folder: str, names: Iterable[str]) -> RemoteFile | None:
    """Return the first of these files that exists; the hub is not queried for the names after it."""
    return next((file for name in names if (file := model.find(_inside(folder, name))) is not None), None)


def _shards(model: HubModel, index_file: RemoteFile) -> list[RemoteFile]:
    weight_map = weight_map_of(model.read_json(index_file))
    if weight_map is None:
        raise ConfigError("The index of a sharded checkpoint has no `weight_map`.", where=index_file.url)
    folder = index_file.path.rpartition("/")[0]
    paths = [_inside(folder, check_file_name(name, index_file.url)) for name in sorted(set(weight_map.values()))]
    model.look_up(paths)
    found = {path: model.find(path) for path in paths}
    missing = [f"{path} is missing" for path, file in found.items() if file is None]
    if missing:
        raise SourceError("Shards are missing.", where=model.where, problems=missing)
    return [file for file in found.values() if file is not None]


def _missing(model: HubModel, folder: str, *what: str) -> SourceError:
    place = f"{folder}: " if folder else ""
    return SourceError("Files are missing.", where=model.where, problems=[f"{place}no {name}" for name in what])
