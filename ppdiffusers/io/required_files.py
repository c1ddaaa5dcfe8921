"""Which files of a model are needed: asked of the opened model, before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ppdiffusers.convert.model_index import INDEX_NAME, Component, parse_model_index
from ppdiffusers.core.errors import ConfigError, SourceError
from ppdiffusers.io.hubs.base import OpenModel, RemoteFile
from ppdiffusers.io.names import check_file_name
from ppdiffusers.io.weight_names import preferred_names

MODEL_CONFIGS = ("config.json", "model_config.json")
SCHEDULER_FILES = ("scheduler_config.json",)
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json",)
# A tokenizer's words lie in one of these sets of files ...
VOCABULARIES = (
    ("vocab.json", "merges.txt"),
    ("tokenizer.json",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tokenizer.model",),
    ("vocab.txt",),
)
# ... and its settings in these, as far as there are any.
TOKENIZER_FILES = (
    *dict.fromkeys(name for names in VOCABULARIES for name in names),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
SMALL_FILES = (*MODEL_CONFIGS, *SCHEDULER_FILES, *IMAGE_PROCESSOR_FILES, *TOKENIZER_FILES)
# What PyTorch's side calls its weights; a folder has files of one of them.
_STEMS = {"diffusers": ("diffusion_pytorch_model",), "transformers": ("model", "pytorch_model")}
ALL_STEMS = tuple(stem for stems in _STEMS.values() for stem in stems)


class Needs(Protocol):
    """Something that can be loaded, as the list of the files it is loaded from."""

    def select(self, model: OpenModel, folder: str) -> list[RemoteFile]:
        """The files, in the folder `folder` of the model ("" for the model itself).

        Raises:
            SourceError: files that loading cannot do without are not there; all of them are listed.
        """


@dataclass(frozen=True)
class NeedFiles:
    """Those of `names` that there are; all files of at least one of the sets in `one_of` have to be among them."""

    names: tuple[str, ...]
    one_of: tuple[tuple[str, ...], ...] = ()

    def select(self, model: OpenModel, folder: str) -> list[RemoteFile]:
        model.look_up(_inside(folder, name) for name in self.names)
        found = _present(model, folder, self.names)
        sets = self.one_of or tuple((name,) for name in self.names)
        if not any(all(name in found for name in names) for names in sets):
            raise _missing(model, folder, " or ".join(" and ".join(names) for names in sets))
        return list(found.values())


@dataclass(frozen=True)
class NeedNetwork:
    """A configuration, and weights in the format that is preferred.

    Attributes:
        stems: names, without endings, of the weights of PyTorch's side.
        variant, use_safetensors: as `from_pretrained` takes them.
    """

    stems: tuple[str, ...] = ALL_STEMS
    variant: str | None = None
    use_safetensors: bool | None = None

    def select(self, model: OpenModel, folder: str) -> list[RemoteFile]:
        weights = preferred_names(self.stems, self.variant, self.use_safetensors)
        model.look_up(_inside(folder, name) for name in (*MODEL_CONFIGS, *weights))
        config, first = _first(model, folder, MODEL_CONFIGS), _first(model, folder, weights)
        missing = [] if config else [" or ".join(MODEL_CONFIGS)]
        if first is None:
            kind = "" if self.variant is None else f" of the variant {self.variant!r}"
            kind += {None: "", True: " as safetensors", False: " as pickles"}[self.use_safetensors]
            missing.append(f"weights{kind}: {', '.join(weights)}")
        if missing:
            raise _missing(model, folder, *missing)
        shards = _shards(model, first) if first.path.endswith(".json") else []
        return [config, first, *shards]


@dataclass(frozen=True)
class NeedPipeline:
    """What `model_index.json` names, but for what the caller brings along.

    Attributes:
        only: names of the components that the pipeline's class has; None for all that the file names.
        given: names of components that the caller passes.
        variant, use_safetensors: as `from_pretrained` takes them.
    """

    only: tuple[str, ...] | None = None
    given: tuple[str, ...] = ()
    variant: str | None = None
    use_safetensors: bool | None = None

    def select(self, model: OpenModel, folder: str) -> list[RemoteFile]:
        index_file = model.find(_inside(folder, INDEX_NAME))
        if index_file is None:
            raise _missing(model, folder, INDEX_NAME)
        raw = {k: v for k, v in model.read_json(index_file).items() if k not in self.given}
        index = parse_model_index(raw)
        wanted = [
            component
            for name, component in index.components.items()
            if component.known is not None and (self.only is None or name in self.only)
        ]
        files, problems = [index_file], []
        for component in wanted:
            try:
                files += self._select(component, model, folder)
            except SourceError as error:
                problems += error.problems or [error.what]
        if problems:
            raise SourceError("The model is not complete there.", where=model.where, problems=problems)
        return files

    def _select(self, component: Component, model: OpenModel, folder: str) -> list[RemoteFile]:
        """The component's files: in its folder, or beside the index as models of 2022 have them."""
        needs = self._of(component)
        try:
            return needs.select(model, _inside(folder, component.name))
        except SourceError:
            if component.known.legacy_config:
                with suppress(SourceError):  # what is told is that its own folder lacks them
                    return needs.select(model, folder)
            raise

    def _of(self, component: Component) -> Needs:
        if component.known.has_weights:
            stems = _STEMS.get(component.known.library, ALL_STEMS)
            return NeedNetwork(stems, self.variant, self.use_safetensors)
        kind = component.known.kind
        if kind == "tokenizer":
            return NeedFiles(TOKENIZER_FILES, VOCABULARIES)
        if kind == "scheduler":
            return NeedFiles(SCHEDULER_FILES)
        if kind == "image_processor":
            return NeedFiles(IMAGE_PROCESSOR_FILES)
        return NeedFiles(SMALL_FILES)


@dataclass(frozen=True)
class NeedAll:
    """Whatever there is to load: a pipeline if there is a `model_index.json`, else one component."""

    variant: str | None = None
    use_safetensors: bool | None = None

    def select(self, model: OpenModel, folder: str) -> list[RemoteFile]:
        if model.find(_inside(folder, INDEX_NAME)) is not None:
            return NeedPipeline(variant=self.variant, use_safetensors=self.use_safetensors).select(model, folder)
        model.look_up(_inside(folder, name) for name in SMALL_FILES)
        small = list(_present(model, folder, SMALL_FILES).values())
        if not small:
            raise _missing(model, folder, f"{INDEX_NAME}, and no file of a single component")
        configured = any(file.path.rpartition("/")[2] in MODEL_CONFIGS for file in small)
        weights = preferred_names(ALL_STEMS, self.variant, self.use_safetensors) if configured else []
        model.look_up(_inside(folder, name) for name in weights)
        chosen = configured and (self.variant is not None or self.use_safetensors is not None)
        if not chosen and _first(model, folder, weights) is None:
            return small  # a configuration alone, such as a scheduler's or a tokenizer's
        network = NeedNetwork(ALL_STEMS, self.variant, self.use_safetensors).select(model, folder)
        return list({file.path: file for file in (*small, *network)}.values())


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _present(model: OpenModel, folder: str, names: Iterable[str]) -> dict[str, RemoteFile]:
    found = {name: model.find(_inside(folder, name)) for name in names}
    return {name: file for name, file in found.items() if file is not None}


def _first(model: OpenModel, folder: str, names: Iterable[str]) -> RemoteFile | None:
    """The first of these files that there is; nothing is asked about those after it."""
    return next((file for name in names if (file := model.find(_inside(folder, name))) is not None), None)


def _shards(model: OpenModel, index_file: RemoteFile) -> list[RemoteFile]:
    weight_map = model.read_json(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ConfigError("This index of shards has no `weight_map`.", where=index_file.url)
    folder = index_file.path.rpartition("/")[0]
    paths = [_inside(folder, check_file_name(name, index_file.url)) for name in sorted(set(weight_map.values()))]
    model.look_up(paths)
    found = [model.find(path) for path in paths]
    if None in found:
        missing = [path for path, file in zip(paths, found) if file is None]
        raise SourceError(
            "Shards are missing.", where=model.where, problems=[f"{path} is not there" for path in missing]
        )
    return found


def _missing(model: OpenModel, folder: str, *what: str) -> SourceError:
    place = f"{folder}: " if folder else ""
    return SourceError("Files are missing.", where=model.where, problems=[f"{place}no {name}" for name in what])
