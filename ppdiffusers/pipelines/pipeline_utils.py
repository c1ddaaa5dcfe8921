"""What all pipelines are: components that are loaded, saved, moved and shared together."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import PIL.Image
from paddle import nn
from tqdm.auto import tqdm

from ppdiffusers import registry
from ppdiffusers.convert.model_index import (
    DIFFUSERS_VERSION,
    INDEX_NAME,
    ModelIndex,
    parse_model_index,
    render_entry,
)
from ppdiffusers.core.config import ConfigMixin, FrozenDict, read_json
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.files import replace_folder
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.io.hubs.local import component_folder
from ppdiffusers.io.required_files import NeedPipeline
from ppdiffusers.io.resolve import resolve_folder, take_source_options
from ppdiffusers.pipelines.stages.device import move_layer, parse_device_and_dtype
from ppdiffusers.runtime.compiling import compile, compile_when_it_pays, decompile
from ppdiffusers.runtime.export import export_programs

# Libraries whose objects compute with PyTorch tensors.
_TORCH_LIBRARIES = ("torch", "diffusers")
_COMPILE_MODES = ("on", "auto", "off")
# Written under a temporary name and renamed, so they can be linked instead of copied.
_WEIGHT_SUFFIXES = (".safetensors", ".pdparams", ".bin", ".ckpt", ".pt")


@dataclass
class ImagePipelineOutput(BaseOutput):
    """Pictures.

    Args:
        images: a list of PIL pictures, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor


@dataclass
class AudioPipelineOutput(BaseOutput):
    """Sounds.

    Args:
        audios: an array [B, channels, samples] in [-1, 1].
    """

    audios: np.ndarray


class DiffusionPipeline(ConfigMixin):
    """Base of all pipelines.

    A subclass names its components as arguments of `__init__` and hands them to `register_modules`; arguments with
    another meaning go to `register_to_config`.

    Class attributes:
        _optional_components: components that may be None.
    """

    config_name = INDEX_NAME
    _optional_components: tuple[str, ...] = ()
    _interrupt = False
    _compile_mode = "auto"

    # -- components -------------------------------------------------------------------------------------------------

    def register_modules(self, **components: Any) -> None:
        """Make these the pipeline's components: attributes that are moved, loaded and saved together.

        Raises:
            InputError: a component is missing or of a kind that cannot work; all of them are listed.
        """
        problems = [
            problem
            for name, component in components.items()
            for problem in _component_problems(name, component, name in self._optional_components)
        ]
        if problems:
            raise InputError(
                f"{type(self).__name__} cannot work with these components.",
                problems=problems,
                remedy="load them with ppdiffusers or paddlenlp, which read the files that PyTorch's libraries write.",
            )
        self._component_names = tuple(dict.fromkeys((*getattr(self, "_component_names", ()), *components)))
        for name, component in components.items():
            setattr(self, name, component)

    @property
    def components(self) -> dict[str, Any]:
        """All components by name; another pipeline made with `**pipe.components` shares them."""
        return {name: getattr(self, name) for name in self.__dict__.get("_component_names", ())}

    @property
    def config(self) -> FrozenDict:
        """The pipeline's settings, and (library, class) of each component as it is now."""
        return FrozenDict({**self._settings, **{name: _entry(c) for name, c in self.components.items()}})

    @property
    def _settings(self) -> FrozenDict:
        return super().config

    def register_to_config(self, **settings: Any) -> None:
        """Record settings; the components need no recording."""
        self._internal_dict = FrozenDict({**self._settings, **settings})

    @classmethod
    def component_names(cls) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(components, settings) among the arguments of `__init__`.

        As in diffusers, an argument with a default is a setting unless it is listed in `_optional_components`.
        """
        parameters = [p for p in inspect.signature(cls.__init__).parameters.values() if p.name != "self"]
        settings = [p.name for p in parameters if p.default is not p.empty and p.name not in cls._optional_components]
        return tuple(p.name for p in parameters if p.name not in settings), tuple(settings)

    def _layers(self) -> dict[str, nn.Layer]:
        return {name: c for name, c in self.components.items() if isinstance(c, nn.Layer)}

    # -- loading ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Load a pipeline from a folder that either framework wrote, or from a hub; nothing is to be said about which.

        `DiffusionPipeline.from_pretrained` gives the class that the folder names, a subclass gives itself.

        Args:
            pretrained_model_name_or_path: the folder with `model_index.json`, or the name of a model on a hub: a
                local cache is looked into first, then the sources in order (`io/resolve.py`).
            paddle_dtype: floating weights of the networks are cast to it (`torch_dtype` means the same).
            variant: read the weights files of this variant, such as "fp16".
            use_safetensors: only safetensors (True) or only pickles (False).
            kwargs: components to use instead of the folder's (`scheduler=...`, `safety_checker=None`) and settings
                of the pipeline; and where to look for a name: `source`, `revision`, `cache_dir`, `force_download`,
                `local_files_only`, `token`, `proxies`, and the old flags `from_hf_hub=`, `from_aistudio=`,
                `from_diffusers=`.

        Raises:
            SourceError: there is no such folder, and no source has the model.
            ConfigError: classes or components that are unknown or missing; all of them are listed.
            InputError: arguments that are unknown.
        """
        source = take_source_options(kwargs)
        mode = _compile_mode(kwargs)
        options = _loading_options(kwargs)
        needs = cls._needs(kwargs, options)
        folder = resolve_folder(pretrained_model_name_or_path, None, needs, source)
        raw = read_json(folder / INDEX_NAME)
        # what the caller brings along need not be known to us
        index = parse_model_index({name: entry for name, entry in raw.items() if name not in kwargs})
        pipeline_class = cls if cls is not DiffusionPipeline else _pipeline_class(index, folder)
        expected, settings = pipeline_class.component_names()
        _refuse_unknown_arguments(pipeline_class, kwargs, (*expected, *settings))

        chosen = {key: value for key, value in index.settings.items() if key in settings}
        chosen.update({key: value for key, value in kwargs.items() if key in settings})
        given = {key: value for key, value in kwargs.items() if key in expected}
        _refuse_missing_components(pipeline_class, index, folder, given)
        loaded = {
            name: given[name] if name in given else _load_component(index, name, folder, options) for name in expected
        }
        pipeline = pipeline_class(**loaded, **chosen)
        pipeline.register_to_config(_name_or_path=str(folder))
        return pipeline if mode == "auto" else pipeline.compile(mode=mode)

    @classmethod
    def download(cls, pretrained_model_name: str | os.PathLike, **kwargs: Any) -> str:
        """Fetch the files that `from_pretrained` with the same arguments would read; returns their folder.

        Raises:
            SourceError: no source has the model, or not all of these files.
            InputError: arguments that are unknown.
        """
        source = take_source_options(kwargs)
        _compile_mode(kwargs)
        needs = cls._needs(kwargs, _loading_options(kwargs))
        return str(resolve_folder(pretrained_model_name, None, needs, source))

    @classmethod
    def _needs(cls, kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> NeedPipeline:
        """The files to fetch if a name is loaded; wrong arguments are refused before anything is."""
        only = None
        if cls is not DiffusionPipeline:
            only, settings = cls.component_names()
            _refuse_unknown_arguments(cls, kwargs, (*only, *settings))
        return NeedPipeline(only, tuple(kwargs), options["variant"], options["use_safetensors"])

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> Any:
        """Make a pipeline of this class that shares the components of another: no weights are copied.

        Args:
            pipeline: any pipeline that has the components this class needs.
            kwargs: components and settings to use instead; `paddle_dtype` (or `torch_dtype`) casts all of them,
                the shared ones too.
        """
        dtype = kwargs.pop("paddle_dtype", None) or kwargs.pop("torch_dtype", None)
        components, settings = cls.component_names()
        _refuse_unknown_arguments(cls, kwargs, (*components, *settings))
        shared = {name: c for name, c in pipeline.components.items() if name in components}
        kept = {name: value for name, value in pipeline._settings.items() if name in settings}
        optional = dict.fromkeys(cls._optional_components)
        arguments = {**optional, **shared, **kept, **kwargs}
        missing = [name for name in components if name not in arguments]
        if missing:
            raise InputError(
                f"{cls.__name__} needs components that {type(pipeline).__name__} does not have.",
                problems=missing,
                remedy=f"pass them: {cls.__name__}.from_pipe(pipe, {', '.join(f'{name}=...' for name in missing)})",
            )
        made = cls(**arguments)
        return made if dtype is None else made.to(dtype=dtype)

    # -- saving -----------------------------------------------------------------------------------------------------

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        to_diffusers: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write the whole pipeline into a folder; an interruption leaves what was there before.

        Other files in the folder stay, other variants of the weights included.

        Args:
            save_directory: where to.
            safe_serialization: `.safetensors` for the weights, otherwise `.pdparams`.
            variant: part of the weights' file names, such as "fp16".
            max_shard_size: larger weights are split over several files; bytes or "10GB".
            push_to_hub: must be False.
            to_diffusers: in PyTorch's layout and names, for diffusers to load.

        Raises:
            InputError: unknown arguments.
        """
        if push_to_hub or kwargs:
            unknown = [*(["push_to_hub=True"] if push_to_hub else []), *(f"{k}={v!r}" for k, v in kwargs.items())]
            raise InputError("save_pretrained cannot do this.", problems=unknown, expected="a local folder")
        options = {"safe_serialization": safe_serialization, "variant": variant, "to_diffusers": to_diffusers}
        if max_shard_size is not None:
            options["max_shard_size"] = max_shard_size
        target = Path(save_directory).expanduser().resolve()
        with replace_folder(target) as staging:
            if target.is_dir():
                shutil.copytree(target, staging, copy_function=_link_or_copy, symlinks=True, dirs_exist_ok=True)
            for name, component in self.components.items():
                if component is not None:
                    _save_component(component, staging / name, options)
            text = json.dumps(self._model_index(to_diffusers), indent=2, ensure_ascii=False) + "\n"
            (staging / INDEX_NAME).write_text(text, encoding="utf-8")

    def _model_index(self, to_diffusers: bool) -> dict[str, Any]:
        settings = {k: v for k, v in ConfigMixin.to_json_dict(self).items() if k not in self._component_names}
        if to_diffusers:
            settings.pop("_ppdiffusers_version")
            settings["_diffusers_version"] = DIFFUSERS_VERSION  # diffusers' inpainting does not load without one
        entries: dict[str, Any] = {name: list(_entry(c, to_diffusers)) for name, c in sorted(self.components.items())}
        return {**settings, **entries}

    # -- device and dtype -------------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> DiffusionPipeline:
        """Move and cast all networks, in place; returns the pipeline.

        Args:
            args, kwargs: in any order a device ("cpu", "gpu", "gpu:0", a Paddle place) and a floating dtype
                ("float16", paddle.float16, ...), or by the names `device`, `dtype`.
        """
        device, dtype = parse_device_and_dtype(*args, **kwargs)
        for layer in self._layers().values():
            move_layer(layer, device, dtype)
        return self

    @property
    def device(self) -> str:
        """Where the networks are: "cpu", "gpu:0", ..."""
        for layer in self._layers().values():
            for parameter in layer.parameters():
                place = parameter.place
                return f"gpu:{place.gpu_device_id()}" if place.is_gpu_place() else "cpu"
        return paddle.device.get_device()

    @property
    def dtype(self) -> paddle.dtype:
        """dtype of the first network."""
        for layer in self._layers().values():
            for parameter in layer.parameters():
                if parameter.is_floating_point():
                    return parameter.dtype
        return paddle.float32

    @property
    def name_or_path(self) -> str | None:
        """The folder it was loaded from."""
        return self._settings.get("_name_or_path")

    # -- speed ------------------------------------------------------------------------------------------------------

    def compile(self, dtype: Any = None, backend: str | None = None, mode: str = "on") -> DiffusionPipeline:
        """Run the networks as compiled programs (`ppdiffusers.runtime.compile`), in place; returns the pipeline.

        Args:
            dtype: what the programs compute in: "float32" (default) or "bfloat16".
            backend: on a CPU "openvino" or "onednn", by default the first of them that is installed; on a GPU "gpu"
                (the default), "cinn" or "tensorrt".
            mode: "on"; "auto", which pipelines start with: on a CPU, when a network's calls take so long that
                compiling pays; "off": eager mode.

        Raises:
            InputError: an unknown mode, backend or dtype.
        """
        if mode not in _COMPILE_MODES:
            raise InputError(f"mode is {mode!r}.", expected=f"one of {', '.join(map(repr, _COMPILE_MODES))}")
        self._compile_mode = mode
        for layer in self._layers().values():
            if _library(layer) != "paddlenlp":
                decompile(layer)
                if mode != "off":
                    compile(layer, dtype, backend, mode)
        return self

    def export(self, folder: str | os.PathLike, **call: Any) -> dict[str, float]:
        """Write Paddle Inference programs of the networks, for deployment without model code.

        Args:
            folder: gets a program folder for each network (`runtime.export.ExportedProgram` runs one).
            call: arguments of a run of the pipeline; the programs are for the shapes that it uses.

        Returns:
            name of each program -> largest difference from eager mode, as a share of the largest value.

        Raises:
            ConversionError: programs that disagree with eager mode; nothing is written.
        """
        self.compile(mode="off")
        layers = {name: layer for name, layer in self._layers().items() if _library(layer) == "ppdiffusers"}
        return export_programs(layers, lambda: self(**call), folder)

    def _compile_when_it_pays(self) -> None:
        """Called before each run, for pipelines that nobody has told anything else."""
        if self._compile_mode == "auto" and os.environ.get("PPDIFFUSERS_COMPILE", "auto") == "auto":
            for layer in self._layers().values():
                if _library(layer) == "ppdiffusers":
                    compile_when_it_pays(layer)

    # -- progress, memory, pictures ---------------------------------------------------------------------------------

    @property
    def interrupt(self) -> bool:
        """Whether the run in progress is to stop."""
        return self._interrupt

    def progress_bar(self, iterable: Iterable | None = None, total: int | None = None) -> tqdm:
        """A progress bar over `iterable`, or over `total` steps."""
        if iterable is None and total is None:
            raise InputError("A progress bar needs to know how long it is.", expected="`iterable` or `total`")
        return tqdm(iterable, total=total, **getattr(self, "_progress_bar_config", {}))

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Settings for `tqdm`, such as `disable=True`."""
        self._progress_bar_config = kwargs

    def enable_attention_slicing(self, slice_size: str | int | None = "auto") -> None:
        """Compute attention a few heads at a time: less memory, a little slower, the same result.

        Args:
            slice_size: "auto" is half of the heads at once, "max" one head, a number that many.
        """
        self.set_attention_slice(slice_size)

    def disable_attention_slicing(self) -> None:
        """Compute attention in one go."""
        self.set_attention_slice(None)

    def set_attention_slice(self, slice_size: str | int | None) -> None:
        for layer in self._layers().values():
            if hasattr(layer, "set_attention_slice"):
                layer.set_attention_slice(slice_size)

    @staticmethod
    def numpy_to_pil(images: np.ndarray) -> list[PIL.Image.Image]:
        """[B, H, W, C] or [H, W, C] in [0, 1] -> PIL pictures."""
        return VaeImageProcessor.numpy_to_pil(images)


class StableDiffusionMixin:
    """Memory savers of pipelines that have a VAE."""

    def enable_vae_slicing(self) -> None:
        """Decode one picture of a batch at a time."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        self.vae.disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Decode large pictures in overlapping tiles."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        self.vae.disable_tiling()


# -- components that can work -----------------------------------------------------------------------------------------


def _component_problems(name: str, component: Any, optional: bool) -> list[str]:
    if component is None:
        return []  # a pipeline without one of its parts can still encode, or decode
    kind = type(component)
    full_name = f"{kind.__module__}.{kind.__name__}"
    if any(base.__module__.split(".")[0] in _TORCH_LIBRARIES for base in kind.__mro__):
        return [f"`{name}` is {full_name}, which computes with PyTorch; ours of the same name reads its files"]
    if not hasattr(component, "save_pretrained"):
        return [f"`{name}` is {full_name}, which is no component: it has no `save_pretrained`"]
    steps = hasattr(component, "step") or hasattr(component, "step_pred")  # those of score SDEs predict and correct
    if name == "scheduler" and not (steps and hasattr(component, "set_timesteps")):
        return [f"`{name}` is {full_name}, which is no scheduler: it has no `step` and `set_timesteps`"]
    return []


# -- loading ----------------------------------------------------------------------------------------------------------


def _pipeline_class(index: ModelIndex, folder: Path) -> type[DiffusionPipeline]:
    entry = registry.find(index.pipeline)
    if entry is None or entry.kind != "pipeline":
        raise ConfigError(
            f"The folder is for {index.pipeline}, which ppdiffusers does not have.",
            where=folder,
            remedy="load its components one by one (`subfolder=...`), or update ppdiffusers.",
        )
    return entry.load()


def _compile_mode(kwargs: dict[str, Any]) -> str:
    mode = kwargs.pop("compile", "auto")
    return {True: "on", False: "off"}.get(mode, mode)


def _loading_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take out of `kwargs` what decides how networks are loaded."""
    dtypes = [kwargs.pop(name, None) for name in ("paddle_dtype", "torch_dtype", "dtype")]
    options = {name: kwargs.pop(name, None) for name in ("variant", "use_safetensors")}
    return {"paddle_dtype": next((d for d in dtypes if d is not None), None), **options}


def _refuse_unknown_arguments(cls: type, kwargs: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [f"{name}={value!r}" for name, value in kwargs.items() if name not in known]
    if unknown:
        raise InputError(f"{cls.__name__} does not know these arguments.", problems=unknown, expected=", ".join(known))


def _refuse_missing_components(cls: type, index: ModelIndex, folder: Path, given: Mapping[str, Any]) -> None:
    expected, _ = cls.component_names()
    defaults = inspect.signature(cls.__init__).parameters
    problems = []
    for name in expected:
        if name in given or name in cls._optional_components and name not in index.components:
            continue
        if name not in index.components and defaults[name].default is inspect.Parameter.empty:
            problems.append(f"{name}: {INDEX_NAME} does not name it")
        elif name in index.components and index.components[name].known and not _folder_of(index, name, folder).is_dir():
            problems.append(f"{name}: the folder {name}/ is not there")
    if problems:
        raise ConfigError(
            f"The folder lacks components that {cls.__name__} needs.",
            where=folder,
            problems=problems,
            remedy="complete the folder, or pass the components: `from_pretrained(folder, name=...)`.",
        )


def _folder_of(index: ModelIndex, name: str, folder: Path) -> Path:
    return component_folder(folder, name, index.components[name].known)


def _load_component(index: ModelIndex, name: str, folder: Path, options: Mapping[str, Any]) -> Any:
    entry = index.components.get(name)
    if entry is None or entry.known is None:
        return None
    cls = entry.known.load()
    return cls.from_pretrained(_folder_of(index, name, folder), **(options if entry.known.has_weights else {}))


# -- saving -----------------------------------------------------------------------------------------------------------


def _entry(component: Any, to_diffusers: bool = False) -> tuple[str | None, str | None]:
    """(library, class) of a component, as `model_index.json` says it."""
    if component is None:
        return None, None
    name = type(component).__name__
    if name not in registry.components():  # somebody's own class: whoever loads the folder passes it
        return type(component).__module__, name
    world = "diffusers" if to_diffusers else "paddlenlp" if _library(component) == "paddlenlp" else "ppdiffusers"
    library, class_name = render_entry(name, world)
    return library, class_name


def _library(component: Any) -> str:
    return type(component).__module__.split(".")[0]


def _save_component(component: Any, folder: Path, options: Mapping[str, Any]) -> None:
    if isinstance(component, nn.Layer) and _library(component) == "paddlenlp":
        if options["to_diffusers"]:
            raise InputError(
                f"{type(component).__name__} of paddlenlp cannot be written in PyTorch's layout.",
                where=folder.name,
                remedy="use the class of the same name in ppdiffusers.transformers, which reads paddlenlp's files.",
            )
        component.save_pretrained(folder)  # its own names; we read them
        return
    component.save_pretrained(folder, **(options if isinstance(component, nn.Layer) else {}))


def _link_or_copy(source: str, target: str) -> None:
    """Weights are linked: whoever writes them renames a new file into place. Small files are copied."""
    if source.endswith(_WEIGHT_SUFFIXES):
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copy2(source, target)
