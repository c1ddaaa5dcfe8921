"""`from_single_file` of pipelines."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdiffusers import registry
from ppdiffusers.convert.single_files.layouts import layouts_to_write
from ppdiffusers.convert.single_files.original_config import with_original_config
from ppdiffusers.convert.single_files.published import Family
from ppdiffusers.convert.single_files.recognition import is_playground, recognise
from ppdiffusers.core.errors import ConfigError, InputError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.half_precision import as_saved
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.pretrained import fill_layer, lazy_state_dict, target_dtype
from ppdiffusers.io.required_files import PipelineConfigs
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.single_file import (
    Placed,
    check_single_file_path,
    log_unused,
    metadata_to_write,
    open_single_file,
    place,
    read_original_config,
    tensors_to_write,
)
from ppdiffusers.io.weights import Checkpoint, write_safetensors
from ppdiffusers.models.single_file import does_not_fit, file_of, pop_dtype
from ppdiffusers.pipelines.loaders.single_file_parts import FolderParts, Parts, PublishedParts
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Loaded only if it is passed, as in diffusers.
_OPTIONAL = ("safety_checker",)
_SAFETY_CHECKER = "CompVis/stable-diffusion-safety-checker"
_SCHEDULERS = {
    "pndm": "PNDMScheduler",
    "lms": "LMSDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
}
# Deprecated arguments and what replaces them.
_DEPRECATED = {
    "original_config_file": "pass `original_config`",
    "scheduler_type": "pass a scheduler: `scheduler=DDIMScheduler(...)`",
    "prediction_type": "pass a scheduler: `scheduler=DDIMScheduler(prediction_type=...)`",
    "scaling_factor": "pass an autoencoder: `vae=...`",
    "load_safety_checker": "pass `safety_checker` and `feature_extractor`",
    "image_size": "pass `height` and `width` in calls",
    "num_in_channels": "pass a UNet: `unet=...`",
    "upcast_attention": "pass a UNet: `unet=...`",
}
# Arguments of diffusers without an effect here.
_IGNORED = ("disable_mmap", "use_safetensors", "variant", "device")


@dataclass
class _Request:
    """The arguments of one call.

    Attributes:
        given: components that the caller passes.
        settings: settings of the pipeline that the caller passes.
        legacy: deprecated arguments.
    """

    config: Any
    original_config: Any
    extract_ema: bool
    dtype: str | None
    options: HubOptions
    given: dict[str, Any]
    settings: dict[str, Any]
    legacy: dict[str, Any] = field(default_factory=dict)


class FromSingleFileMixin:
    """Loading of a pipeline from a single file."""

    @classmethod
    def from_single_file(cls, pretrained_model_link_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Load a pipeline from a file of CompVis, Stability, the web UI or ComfyUI.

        The kind of the file is recognised from the names and shapes of its tensors. Configurations and tokenizers of
        the published models ship with ppdiffusers, so that no network connection is required.

        Args:
            pretrained_model_link_or_path: a `.safetensors`, `.ckpt`, `.pt` or `.bin` file, or its address on Hugging
                Face or ModelScope.
            config: a folder in diffusers' format, or the name of a model on a hub, whose configurations, tokenizers and
                scheduler are used.
            original_config: the YAML file of the original repository, its address, or its content, for UNet and
                autoencoder; `config` supplies the rest.
            torch_dtype: floating weights are cast to it; float32 by default, "auto" keeps the dtype of the file.
                `paddle_dtype` and `dtype` are aliases.
            extract_ema: use the averaged weights of the UNet if the file has both.
            kwargs: components that replace those of the file (`vae=...`, `safety_checker=...`), settings of the
                pipeline, hub options (`local_files_only=True`, ...), and the deprecated arguments of diffusers
                (`scheduler_type`, `prediction_type`, `load_safety_checker`, ...).

        Raises:
            SourceError: no such file, or no such configuration.
            WeightsError: the file is damaged, or tensors are missing or have wrong shapes; all of them are listed.
            UnsafeFileError: a pickle names code to run; nothing was run.
            InputError: unknown arguments, or the file belongs to another pipeline.
        """
        request = _parse(cls, kwargs)
        checkpoint = open_single_file(pretrained_model_link_or_path, request.options, request.extract_ema)
        family = recognise(checkpoint, checkpoint.metadata)
        if family is not None:
            logger.info("%s: %s", file_of(checkpoint), family.title)
        parts = _parts(cls, request, checkpoint, family)
        components = _load_components(cls, request, checkpoint, parts)
        if request.legacy.get("load_safety_checker"):
            components.update(_safety_checker(request))
        return _create(cls, components, {**parts.settings, **request.settings}, checkpoint)

    def save_single_file(self, path: str | os.PathLike) -> None:
        """Write the networks as one file that the web UI, ComfyUI and `diffusers.from_single_file` load.

        Names and bits are those of the file from which they were loaded (with `paddle_dtype="auto"`). Adapters are not
        written: call `fuse_lora` before.

        Args:
            path: the file, which ends in `.safetensors`. It appears when it is complete.

        Raises:
            InputError: the path does not end in `.safetensors`.
            ConversionError: a network has layers that single files do not have.
        """
        _save(self, path)


def _save(pipeline: Any, path: str | os.PathLike) -> None:
    file = check_single_file_path(path)
    layers = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Layer)}
    layouts = layouts_to_write({name: (type(layer).__name__, layer.config) for name, layer in layers.items()})
    skipped = [name for name in layers if name not in layouts]
    if skipped:
        logger.warning("Single files do not have %s: not written.", ", ".join(skipped))
    tensors: dict[str, LazyTensor] = {}
    for name, layout in layouts.items():
        tensors |= tensors_to_write(layout, layers[name], as_saved(layers[name], lazy_state_dict(layers[name])))
    write_safetensors(file, tensors, metadata_to_write(pipeline.scheduler.config.get("prediction_type")))


def _create(cls: Any, components: Mapping[str, Any], settings: Mapping[str, Any], checkpoint: Checkpoint) -> Any:
    _, names = cls.component_names()
    pipeline = cls(**components, **{name: value for name, value in settings.items() if name in names})
    pipeline.register_to_config(_name_or_path=str(file_of(checkpoint)))
    return pipeline


# -- arguments --------------------------------------------------------------------------------------------------------


def _parse(cls: Any, kwargs: Mapping[str, Any]) -> _Request:
    kwargs = dict(kwargs)
    legacy = {name: kwargs.pop(name) for name in _DEPRECATED if name in kwargs}
    for name in [name for name, value in legacy.items() if value is not None]:
        warnings.warn(f"`{name}` is deprecated: {_DEPRECATED[name]}.", FutureWarning, stacklevel=3)
    for name in _IGNORED:
        kwargs.pop(name, None)
    original_config = kwargs.pop("original_config", None)
    config, extract_ema = kwargs.pop("config", None), bool(kwargs.pop("extract_ema", False))
    dtype = target_dtype(pop_dtype(kwargs))
    options = pop_hub_options(kwargs)
    components, settings = cls.component_names()
    request = _Request(
        config,
        legacy.pop("original_config_file", None) if original_config is None else original_config,
        extract_ema,
        dtype,
        options,
        {name: kwargs.pop(name) for name in components if name in kwargs},
        {name: kwargs.pop(name) for name in settings if name in kwargs},
        legacy,
    )
    unknown_type = legacy.get("scheduler_type") not in (None, *_SCHEDULERS)
    problems = [f"{name}={value!r} is unknown" for name, value in kwargs.items()]
    if unknown_type:
        problems.append(f"scheduler_type={legacy['scheduler_type']!r} is not one of {', '.join(_SCHEDULERS)}")
    if problems:
        raise InputError(f"{cls.__name__}.from_single_file does not accept these arguments.", problems=problems)
    return request


def _parts(cls: Any, request: _Request, checkpoint: Checkpoint, family: Family | None) -> Parts:
    """Return configurations: of the folder `config`, of the original's file, or of the published model."""
    _, settings = cls.component_names()
    if request.config is not None:
        required = PipelineConfigs(None, tuple(request.given), settings=settings)
        folder = resolve_folder(request.config, None, required, request.options)
        return FolderParts(Path(folder), tuple(request.given), settings, _original(cls, request, checkpoint, family))
    if family is None or not family.pipeline or is_playground(checkpoint):
        raise _not_a_pipeline(cls, checkpoint, family)
    if request.original_config is not None:
        size = request.legacy.get("image_size")
        return PublishedParts(
            with_original_config(family, read_original_config(request.original_config, request.options), size)
        )
    expected, _ = cls.component_names()
    surplus = [name for name in family.components if name not in expected]
    if any(registry.components()[family.components[name][0]].has_weights for name in surplus):
        raise InputError(
            f"The file is for another pipeline than {cls.__name__}.",
            where=file_of(checkpoint),
            problems=[f"it is: {family.title}", *(f"{cls.__name__} has no {name}" for name in surplus)],
            remedy=f"load it with {family.pipeline}.from_single_file(...).",
        )
    return PublishedParts(family)


def _original(cls: Any, request: _Request, checkpoint: Checkpoint, family: Family | None) -> dict[str, Any]:
    """Return what the original's file says in place of `config`: as in diffusers, of UNet and autoencoder."""
    if request.original_config is None:
        return {}
    if family is None:
        raise _not_a_pipeline(cls, checkpoint, family)
    settings = read_original_config(request.original_config, request.options)
    components = with_original_config(family, settings, request.legacy.get("image_size")).components
    entries = registry.components()
    return {
        name: config
        for name, (class_name, config) in components.items()
        if hasattr(entries[class_name].load(), "from_single_file")
    }


def _not_a_pipeline(cls: Any, checkpoint: Checkpoint, family: Family | None) -> WeightsError:
    title = "Playground v2.5" if is_playground(checkpoint) else family.title if family else "unknown"
    return WeightsError(
        f"The kind of the file is not one that {cls.__name__} loads by itself.",
        where=file_of(checkpoint),
        problems=[f"it is: {title}"],
        remedy="pass `config=` with the folder of its model; `ppdiffusers info FILE` shows what the file is.",
    )


# -- components -------------------------------------------------------------------------------------------------------


def _load_components(cls: Any, request: _Request, checkpoint: Checkpoint, parts: Parts) -> dict[str, Any]:
    """Load all components; networks are checked together before the first one is read."""
    expected, _ = cls.component_names()
    required = {p.name for p in inspect.signature(cls.__init__).parameters.values() if p.default is p.empty}
    loaded: dict[str, Any] = {}
    layers: dict[str, nn.Layer] = {}
    missing: list[str] = []
    for name in expected:
        entry = None if name in _OPTIONAL else parts.entry(name)
        if name in request.given:
            loaded[name] = request.given[name]
        elif entry is None:
            loaded[name] = None
            if name in required and name not in (*_OPTIONAL, *cls._optional_components):
                missing.append(f"{name}: pass it, `from_single_file(..., {name}=...)`")
        elif entry.has_weights:
            layers[name] = _empty(entry.load(), parts.config(name), _overrides(request, name))
        elif entry.kind == "scheduler":
            loaded[name] = _scheduler(request, parts, name)
        else:
            loaded[name] = parts.load(name)
    loaded |= _read(cls.__name__, layers, request, checkpoint, parts, missing)
    return loaded


def _empty(cls: Any, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> nn.Layer:
    with paddle.LazyGuard():  # parameters get neither memory nor random values here
        return cls.from_config({**config, **overrides})


def _overrides(request: _Request, name: str) -> dict[str, Any]:
    """Return what deprecated arguments change in the configuration of a network."""
    names = {
        "unet": {"num_in_channels": "in_channels", "upcast_attention": "upcast_attention"},
        "vae": {"scaling_factor": "scaling_factor"},
    }.get(name, {})
    given = {key: request.legacy.get(argument) for argument, key in names.items()}
    return {key: value for key, value in given.items() if value is not None}


def _read(
    pipeline: str,
    layers: Mapping[str, nn.Layer],
    request: _Request,
    checkpoint: Checkpoint,
    parts: Parts,
    missing: list[str],
) -> dict[str, nn.Layer]:
    """Read the networks; the file must have all of them, complete."""
    placed: dict[str, Placed] = {}
    loaded: dict[str, nn.Layer] = {}
    problems: list[str] = []
    for name, layer in layers.items():
        found = place(layer, checkpoint)
        if found is not None:
            placed[name] = found
            problems += [f"{name}: {problem}" for problem in found.problems]
            continue
        # the single file is what UNet and autoencoder are loaded from; encoders may be in the folder
        other = None if hasattr(type(layer), "from_single_file") else parts.load_network(name, request.dtype)
        if other is None:
            class_name = type(layer).__name__
            missing.append(f"{name}: not in the file; pass it, `{name}={class_name}.from_pretrained(...)`")
        else:
            loaded[name] = other
    if missing and not problems:
        raise ConfigError(f"The file lacks components of {pipeline}.", where=file_of(checkpoint), problems=missing)
    if problems:
        raise does_not_fit(pipeline, [*problems, *missing], checkpoint)
    log_unused(checkpoint, placed.values())
    for name, found in placed.items():
        fill_layer(layers[name], found.tensors, request.dtype)
        layers[name].eval()
        loaded[name] = layers[name]
    return loaded


def _scheduler(request: _Request, parts: Parts, name: str) -> Any:
    """Load a scheduler; deprecated arguments choose its class and prediction type."""
    kind, prediction = request.legacy.get("scheduler_type"), request.legacy.get("prediction_type")
    if name != "scheduler" or (kind is None and prediction is None):
        return parts.load(name)
    entry = parts.entry(name)
    class_name = _SCHEDULERS[kind] if kind is not None else entry.name
    changes = {} if prediction is None else {"prediction_type": prediction}
    return registry.components()[class_name].load().from_config({**parts.config(name), **changes})


def _safety_checker(request: _Request) -> dict[str, Any]:
    found = {"safety_checker": "StableDiffusionSafetyChecker", "feature_extractor": "CLIPImageProcessor"}
    options = {"local_files_only": request.options.local_files_only}
    return {
        name: registry.components()[class_name].load().from_pretrained(_SAFETY_CHECKER, **options)
        for name, class_name in found.items()
    }
