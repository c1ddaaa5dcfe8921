"""The base of pipelines: components that are loaded, saved, moved and compiled together."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from ppdiffusers.core.config import ConfigMixin, FrozenDict
from ppdiffusers.core.config_types import check_types
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.files import expand_user, in_use
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.core.reading import read_json
from ppdiffusers.core.saving import save_together
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.io.hubs.local import component_folder
from ppdiffusers.io.ignored_arguments import drop_unknown
from ppdiffusers.io.pretrained import HubConfigMixin
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.weight_names import is_safetensors_compatible as is_safetensors_compatible
from ppdiffusers.pipelines.loaders.custom_pipeline import custom_pipeline_class, own_pipeline, own_pipeline_class
from ppdiffusers.pipelines.stages.device import move_layer, parse_device_and_dtype
from ppdiffusers.pipelines.stages.offloading import OffloadingMixin
from ppdiffusers.runtime.compiling import compile, compile_when_it_pays, decompile
from ppdiffusers.runtime.export import export_programs
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel

logger = get_logger(__name__)

# Libraries whose objects compute with PyTorch tensors.
_TORCH_LIBRARIES = ("torch", "diffusers")
_COMPILE_MODES = ("on", "auto", "off")


@dataclass
class ImagePipelineOutput(BaseOutput):
    """Generated images.

    Args:
        images: a list of PIL images, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor


@dataclass
class AudioPipelineOutput(BaseOutput):
    """Generated audio.

    Args:
        audios: an array [B, channels, samples] in [-1, 1].
    """

    audios: np.ndarray


class DiffusionPipeline(OffloadingMixin, HubConfigMixin):
    """Base of all pipelines.

    A subclass takes its components as arguments of `__init__` and passes them to `register_modules`. Arguments with a
    default are settings, which it passes to `register_to_config`, unless they are listed in `_optional_components`.

    Class attributes:
        _optional_components: components that a checkpoint may lack.
    """

    __call__: Callable[..., Any]  # each pipeline has its own
    scheduler: Any

    config_name = INDEX_NAME
    _optional_components: tuple[str, ...] = ()
    _interrupt = False
    _compile_mode = "auto"

    # -- components -------------------------------------------------------------------------------------------------

    def register_modules(self, **components: Any) -> None:
        """Set the components: attributes that are moved, loaded and saved together.

        Raises:
            InputError: components that cannot work; all of them are listed.
        """
        problems = [
            problem for name, component in components.items() for problem in _component_problems(name, component)
        ]
        if problems:
            raise InputError(
                f"{type(self).__name__} cannot work with these components.",
                problems=problems,
                remedy="load them with ppdiffusers or paddlenlp, which read files of PyTorch.",
            )
        self._component_names = tuple(dict.fromkeys((*getattr(self, "_component_names", ()), *components)))
        for name, component in components.items():
            setattr(self, name, component)

    @property
    def components(self) -> dict[str, Any]:
        """All components by name; a pipeline that is created with `**pipe.components` shares them."""
        return {name: getattr(self, name) for name in self.__dict__.get("_component_names", ())}

    @property
    def config(self) -> FrozenDict:
        """The settings, and (library, class) of each component."""
        # not `self.components`: community pipelines override it, and read the names of `config`
        components = {name: getattr(self, name) for name in self.__dict__.get("_component_names", ())}
        return FrozenDict({**self._settings, **{name: _entry(c) for name, c in components.items()}})

    @property
    def _settings(self) -> FrozenDict:
        return super().config

    def register_to_config(self, **settings: Any) -> None:
        """Record settings of the pipeline."""
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
        """Load a pipeline from a folder or from a hub, in the format of diffusers or ppdiffusers.

        `DiffusionPipeline.from_pretrained` returns the class that the folder names, a subclass returns itself.

        Args:
            pretrained_model_name_or_path: a folder with `model_index.json`, or the name of a model, which is looked up
                in the local cache and then on the hubs in order (`ppdiffusers.io.resolve`).
            paddle_dtype: dtype of the floating point weights of the networks; `torch_dtype` is an alias.
            variant: variant of the weights files, such as "fp16".
            use_safetensors: load only safetensors (True) or only pickles (False).
            custom_pipeline: a Python file on this machine, or a folder with `pipeline.py`, whose pipeline is returned.
            kwargs: components that replace those of the folder (`scheduler=...`, `safety_checker=None`), settings of
                the pipeline, and options of hubs: `source`, `revision`, `cache_dir`, `force_download`,
                `local_files_only`, `token`, `proxies`, and the legacy flags `from_hf_hub=`, `from_aistudio=`,
                `from_diffusers=`. Other arguments are ignored with a warning, as in diffusers.

        Raises:
            SourceError: neither the folder nor any hub has the model.
            ConfigError: unknown or missing classes or components; all of them are listed.
        """
        trusted = bool(kwargs.get("trust_remote_code"))
        source = pop_hub_options(kwargs)
        mode = _compile_mode(kwargs)
        options = _loading_options(kwargs)
        cls = _custom_class(cls, kwargs)
        required = cls._required_files(kwargs, options)
        folder = resolve_folder(pretrained_model_name_or_path, None, required, source)
        raw = read_json(folder / INDEX_NAME)
        own = own_pipeline(raw)
        if own is not None:
            raw["_class_name"] = own[1]
            if cls is DiffusionPipeline:
                downloaded = not expand_user(pretrained_model_name_or_path).is_dir()
                cls = own_pipeline_class(*own, folder, DiffusionPipeline, trusted=trusted, downloaded=downloaded)
        # classes of components that the caller passes may be unknown
        unknown = {name: entry for name, entry in raw.items() if name not in kwargs}
        pipeline_class = cls if cls is not DiffusionPipeline else _pipeline_class(unknown, folder)
        expected, settings = pipeline_class.component_names()
        saved = tuple(name for name in settings if (folder / name).is_dir())  # components that are not declared
        expected, settings = (*expected, *saved), tuple(name for name in settings if name not in saved)
        index = parse_model_index(unknown, settings=settings)
        drop_unknown(kwargs, (*expected, *settings), pipeline_class.__name__)

        chosen = {key: value for key, value in index.settings.items() if key in settings}
        chosen.update({key: value for key, value in kwargs.items() if key in settings})
        given = {key: value for key, value in kwargs.items() if key in expected}
        _refuse_missing_components(pipeline_class, index, folder, given)
        with in_use(folder):
            loaded = {
                name: given[name] if name in given else _load_component(index, name, folder, options)
                for name in expected
            }
        check_types(pipeline_class.__name__, chosen, pipeline_class.__init__, folder / INDEX_NAME)
        pipeline = pipeline_class(**loaded, **chosen)
        pipeline.register_to_config(_name_or_path=str(folder))
        return pipeline if mode == "auto" else pipeline.compile(mode=mode)

    @classmethod
    def download(cls, pretrained_model_name: str | os.PathLike, **kwargs: Any) -> str:
        """Download the files that `from_pretrained` with the same arguments reads; return their folder.

        Raises:
            SourceError: no hub has the model with all required files.
        """
        source = pop_hub_options(kwargs)
        _compile_mode(kwargs)
        options = _loading_options(kwargs)
        required = _custom_class(cls, kwargs)._required_files(kwargs, options)
        return str(resolve_folder(pretrained_model_name, None, required, source))

    @classmethod
    def _required_files(cls, kwargs: dict[str, Any], options: Mapping[str, Any]) -> PipelineFiles:
        """The files to download; arguments without an effect are removed before that."""
        kwargs.pop("output_loading_info", None)  # as in diffusers, only networks return it
        if cls is DiffusionPipeline:
            return PipelineFiles(None, tuple(kwargs), options["variant"], options["use_safetensors"])
        components, settings = cls.component_names()
        drop_unknown(kwargs, (*components, *settings), cls.__name__)
        return PipelineFiles(components, tuple(kwargs), options["variant"], options["use_safetensors"], settings)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> Any:
        """Create a pipeline of this class that shares the components of another one; no weights are copied.

        Args:
            pipeline: any pipeline with the components of this class.
            kwargs: components and settings that replace those of the pipeline; `paddle_dtype` (or `torch_dtype`) casts
                all components, including the shared ones.
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
                f"{cls.__name__} requires components that {type(pipeline).__name__} does not have.",
                problems=missing,
                remedy=f"pass them: {cls.__name__}.from_pipe(pipe, {', '.join(f'{name}=...' for name in missing)})",
            )
        made = cls(**arguments)
        made._offload = pipeline._offload  # of the shared networks
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
        """Save the pipeline to a folder. After an interruption the folder has its previous content.

        Other files in the folder are kept, including other variants of the weights.

        Args:
            save_directory: the folder, which is created if necessary.
            safe_serialization: save weights as `.safetensors`, otherwise as `.pdparams`.
            variant: part of the names of the weights files, such as "fp16".
            max_shard_size: size above which weights are split into several files; bytes or "10GB".
            push_to_hub: must be False.
            to_diffusers: write PyTorch's layout and names, which diffusers loads.

        Raises:
            InputError: unknown arguments.
        """
        if push_to_hub or kwargs:
            unknown = [*(["push_to_hub=True"] if push_to_hub else []), *(f"{k}={v!r}" for k, v in kwargs.items())]
            raise InputError(
                "save_pretrained does not support these arguments.", problems=unknown, expected="a local folder"
            )
        options = {"safe_serialization": safe_serialization, "variant": variant, "to_diffusers": to_diffusers}
        if max_shard_size is not None:
            options["max_shard_size"] = max_shard_size
        with save_together(expand_user(save_directory)) as save:
            for name, component in self.components.items():
                if inspect.isroutine(component):
                    logger.warning("`%s` is a function, which cannot be saved; it is None in %s.", name, INDEX_NAME)
                elif component is not None:
                    _save_component(component, save.folder / name, options)
            text = json.dumps(self._model_index(to_diffusers), indent=2, ensure_ascii=False) + "\n"
            (save.folder / INDEX_NAME).write_text(text, encoding="utf-8")

    def _model_index(self, to_diffusers: bool) -> dict[str, Any]:
        settings = {k: v for k, v in ConfigMixin.to_json_dict(self).items() if k not in self._component_names}
        if to_diffusers:
            settings.pop("_ppdiffusers_version")
            settings["_diffusers_version"] = DIFFUSERS_VERSION  # diffusers' inpainting requires one
        saved = {name: None if inspect.isroutine(c) else c for name, c in self.components.items()}
        entries: dict[str, Any] = {name: list(_entry(c, to_diffusers)) for name, c in sorted(saved.items())}
        return {**settings, **entries}

    # -- device and dtype -------------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> DiffusionPipeline:
        """Move and cast all networks in place; return the pipeline.

        Args:
            args, kwargs: a device ("cpu", "gpu", "gpu:0", a Paddle place) and a floating point dtype ("float16",
                paddle.float16, ...) in any order, or as `device` and `dtype`. On a CPU, weights in half precision are
                held in float32 (`io/half_precision.py`).
        """
        device, dtype = parse_device_and_dtype(*args, **kwargs)
        if device is not None and self._offload is not None:
            logger.warning("The networks are moved to %s, and are no longer offloaded.", device)
            self.remove_all_hooks()
        for layer in self._layers().values():
            move_layer(layer, device, dtype)
        return self

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
        """The folder that the pipeline was loaded from."""
        return self._settings.get("_name_or_path")

    # -- speed ------------------------------------------------------------------------------------------------------

    def compile(
        self, dtype: paddle.dtype | str | None = None, backend: str | None = None, mode: str = "on"
    ) -> DiffusionPipeline:
        """Run the networks as compiled programs (`ppdiffusers.runtime.compile`), in place; return the pipeline.

        Args:
            dtype: dtype of the computation: "float32" (default) or "bfloat16".
            backend: on a CPU "openvino" or "onednn", by default the first one that is installed; on a GPU "gpu" (the
                default), "cinn" or "tensorrt".
            mode: "on"; "off", eager mode; or "auto", the default of a pipeline: on a CPU, networks are compiled when
                their calls take long enough for that to pay.

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
        """Export the networks as Paddle Inference programs, for deployment without model code.

        Args:
            folder: receives a folder for each network, which `runtime.export.ExportedProgram` runs.
            call: arguments of a call of the pipeline; the programs are for the shapes that it uses.

        Returns:
            name of each program -> largest difference from eager mode, relative to the largest value.

        Raises:
            ConversionError: programs that disagree with eager mode; nothing is written.
        """
        self.compile(mode="off")
        layers = {name: layer for name, layer in self._layers().items() if _library(layer) == "ppdiffusers"}
        return export_programs(layers, lambda: self(**call), folder)

    def _compile_when_it_pays(self) -> None:
        """Compile networks automatically before a call, unless `compile` or the environment says otherwise."""
        if self._compile_mode == "auto" and os.environ.get("PPDIFFUSERS_COMPILE", "auto") == "auto":
            for layer in self._layers().values():
                if _library(layer) == "ppdiffusers":
                    compile_when_it_pays(layer)

    # -- progress, memory, images -----------------------------------------------------------------------------------

    @property
    def interrupt(self) -> bool:
        """Whether the current call stops after this step."""
        return self._interrupt

    def progress_bar(self, iterable: Iterable | None = None, total: int | None = None) -> tqdm:
        """Show a progress bar over `iterable`, or over `total` steps."""
        if iterable is None and total is None:
            raise InputError("The length of the progress bar is unknown.", expected="`iterable` or `total`")
        return tqdm(iterable, total=total, **getattr(self, "_progress_bar_config", {}))

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Set arguments of `tqdm`, such as `disable=True`."""
        self._progress_bar_config = kwargs

    def enable_attention_slicing(self, slice_size: str | int | None = "auto") -> None:
        """Compute attention a few heads at a time: less memory, a little slower, the same result.

        Args:
            slice_size: heads at a time: "auto" is half of them, "max" is one.
        """
        self.set_attention_slice(slice_size)

    def disable_attention_slicing(self) -> None:
        """Compute attention for all heads at a time."""
        self.set_attention_slice(None)

    def set_attention_slice(self, slice_size: str | int | None) -> None:
        for layer in self._layers().values():
            if hasattr(layer, "set_attention_slice"):
                layer.set_attention_slice(slice_size)

    def enable_xformers_memory_efficient_attention(self, attention_op: Any = None) -> None:
        """Do nothing but log it: Paddle's attention kernels are memory-efficient without xFormers."""
        self.set_use_memory_efficient_attention_xformers(True, attention_op)

    def disable_xformers_memory_efficient_attention(self) -> None:
        """Do nothing: xFormers is not used."""
        self.set_use_memory_efficient_attention_xformers(False)

    def set_use_memory_efficient_attention_xformers(self, valid: bool, attention_op: Any = None) -> None:
        for layer in self._layers().values():
            if hasattr(layer, "set_use_memory_efficient_attention_xformers"):
                layer.set_use_memory_efficient_attention_xformers(valid, attention_op)

    @staticmethod
    def numpy_to_pil(images: np.ndarray) -> list[PIL.Image.Image]:
        """Convert [B, H, W, C] or [H, W, C] in [0, 1] to PIL images."""
        return VaeImageProcessor.numpy_to_pil(images)


class StableDiffusionMixin:
    """Memory savings of pipelines with a VAE, and FreeU of their UNet."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel

    def fuse_qkv_projections(self, unet: bool = True, vae: bool = True) -> None:
        """Compute queries, keys and values of attention layers by one matrix product; the result is the same.

        Args:
            unet, vae: in which networks.
        """
        for name, chosen in (("unet", unet), ("vae", vae)):
            network = getattr(self, name, None)
            if chosen and network is not None:
                network.fuse_qkv_projections()

    def unfuse_qkv_projections(self, unet: bool = True, vae: bool = True) -> None:
        """Compute queries, keys and values separately again."""
        for name, chosen in (("unet", unet), ("vae", vae)):
            network = getattr(self, name, None)
            if chosen and network is not None:
                network.unfuse_qkv_projections()

    def enable_vae_slicing(self) -> None:
        """Decode the images of a batch one at a time."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        self.vae.disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Decode large images in overlapping tiles."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        self.vae.disable_tiling()

    def enable_freeu(self, s1: float, s2: float, b1: float, b2: float) -> None:
        """Enable FreeU; see `UNet2DConditionModel.enable_freeu`."""
        self._require_unet().enable_freeu(s1=s1, s2=s2, b1=b1, b2=b2)

    def disable_freeu(self) -> None:
        self._require_unet().disable_freeu()

    def _require_unet(self) -> UNet2DConditionModel:
        unet = getattr(self, "unet", None)
        if unet is None:
            raise InputError("FreeU requires a UNet, which the pipeline does not have.")
        return unet


# -- components that can work -----------------------------------------------------------------------------------------


def _component_problems(name: str, component: Any) -> list[str]:
    if component is None:
        return []  # a pipeline without one of its components can still encode, or decode
    kind = type(component)
    full_name = f"{kind.__module__}.{kind.__name__}"
    if any(base.__module__.split(".")[0] in _TORCH_LIBRARIES for base in kind.__mro__):
        return [f"`{name}` is {full_name}, which uses PyTorch; ppdiffusers has a class of the same name"]
    if inspect.isroutine(component) and name != "scheduler":
        return []  # a function in place of an image processor, as diffusers accepts
    if not hasattr(component, "save_pretrained"):
        return [f"`{name}` is {full_name}, which is not a component: it has no `save_pretrained`"]
    steps = hasattr(component, "step") or hasattr(component, "step_pred")  # of score SDEs
    if name == "scheduler" and not (steps and hasattr(component, "set_timesteps")):
        return [f"`{name}` is {full_name}, which is not a scheduler: it has no `step` and `set_timesteps`"]
    return []


# -- loading ----------------------------------------------------------------------------------------------------------


def _custom_class(cls: type[DiffusionPipeline], kwargs: dict[str, Any]) -> type[DiffusionPipeline]:
    """Remove `custom_pipeline` from `kwargs`; return the class that it names, or `cls` without it."""
    custom = kwargs.pop("custom_pipeline", None)
    return cls if custom is None else custom_pipeline_class(custom, DiffusionPipeline)


def _pipeline_class(raw: Mapping[str, Any], folder: Path) -> type[DiffusionPipeline]:
    name = raw.get("_class_name")
    if not isinstance(name, str):
        name = parse_model_index(raw).pipeline  # raises: the file is damaged
    entry = registry.find(name)
    if entry is None or entry.kind != "pipeline":
        raise ConfigError(
            f"The folder is for {name}, which ppdiffusers does not have.",
            where=folder,
            remedy="pass the file that defines it (`custom_pipeline=...`), load its components one by one "
            "(`subfolder=...`), or update ppdiffusers.",
        )
    return entry.load()


def _compile_mode(kwargs: dict[str, Any]) -> str:
    mode = kwargs.pop("compile", "auto")
    return {True: "on", False: "off"}.get(mode, mode)


def _loading_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of loading networks from `kwargs` and return them."""
    dtypes = [kwargs.pop(name, None) for name in ("paddle_dtype", "torch_dtype", "dtype")]
    options = {name: kwargs.pop(name, None) for name in ("variant", "use_safetensors")}
    return {"paddle_dtype": next((d for d in dtypes if d is not None), None), **options}


def _refuse_unknown_arguments(cls: type[DiffusionPipeline], kwargs: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [f"{name}={value!r}" for name, value in kwargs.items() if name not in known]
    if unknown:
        raise InputError(
            f"{cls.__name__} does not accept these arguments.", problems=unknown, expected=", ".join(known)
        )


def _refuse_missing_components(
    cls: type[DiffusionPipeline], index: ModelIndex, folder: Path, given: Mapping[str, Any]
) -> None:
    expected, _ = cls.component_names()
    defaults = inspect.signature(cls).parameters
    problems = []
    for name in expected:
        if name in given or name in cls._optional_components and name not in index.components:
            continue
        if name not in index.components and defaults[name].default is inspect.Parameter.empty:
            problems.append(f"{name}: missing in {INDEX_NAME}")
        elif name in index.components and index.components[name].known and not _folder_of(index, name, folder).is_dir():
            problems.append(f"{name}: the folder {name}/ is missing")
    if problems:
        raise ConfigError(
            f"The folder lacks components of {cls.__name__}.",
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
    component = cls.from_pretrained(_folder_of(index, name, folder), **(options if entry.known.has_weights else {}))
    if logger.level or get_logger().level:  # chosen by the user; importing Paddle sets that of the root logger to INFO
        logger.info("Loaded %s as %s from `%s` of %s.", name, cls.__name__, name, folder)
    return component


# -- saving -----------------------------------------------------------------------------------------------------------


def _entry(component: Any, to_diffusers: bool = False) -> tuple[str | None, str | None]:
    """(library, class) of a component in a `model_index.json`."""
    if component is None:
        return None, None
    name = type(component).__name__
    if name not in registry.components():  # a class of the user, who passes it when loading the folder
        return component.__module__, name
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
        component.save_pretrained(folder)  # in paddlenlp's names, which we read
        return
    component.save_pretrained(folder, **(options if isinstance(component, nn.Layer) else {}))
