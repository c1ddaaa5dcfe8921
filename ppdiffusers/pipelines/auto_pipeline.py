"""Pipelines by task: the class follows from what a folder, or another pipeline, contains."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from ppdiffusers import registry
from ppdiffusers.convert.model_index import INDEX_NAME, parse_model_index
from ppdiffusers.core.config import ConfigMixin
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.reading import read_json
from ppdiffusers.io.required_files import NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from ppdiffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline

# The family "x-controlnet" is the family "x" with the component `controlnet`, for several control types "-union".
_WITH_CONTROLNETS, _UNION = "-controlnet", "-union"


class _AutoPipeline(ConfigMixin):
    """Select a class for `_task`; the families are those of `ppdiffusers.registry`. It has no instances."""

    config_name = INDEX_NAME
    _task: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any):
        name = type(self).__name__
        raise InputError(
            f"{name} cannot be instantiated.",
            remedy=f"call `{name}.from_pretrained(folder)` or `{name}.from_pipe(pipeline)`.",
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_or_path: str | os.PathLike, **kwargs: Any) -> DiffusionPipeline:
        """Load the pipeline of this task for the checkpoint in a folder, or on a hub.

        Args:
            pretrained_model_or_path, kwargs: those of `DiffusionPipeline.from_pretrained`. With `controlnet`, a
                ControlNet or a list, the class is the one with ControlNets.

        Raises:
            InputError: the family of the checkpoint has no pipeline for this task.
            SourceError, ConfigError: as `DiffusionPipeline.from_pretrained`.
        """
        source = pop_hub_options(dict(kwargs))
        folder = resolve_folder(pretrained_model_or_path, None, NamedFiles((INDEX_NAME,)), source)
        raw = read_json(folder / INDEX_NAME)
        # classes of components that the caller passes may be unknown
        index = parse_model_index({name: entry for name, entry in raw.items() if name not in kwargs})
        family = _family(index.pipeline, kwargs)
        return cls._class_in_family(family, index.pipeline).from_pretrained(pretrained_model_or_path, **kwargs)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> DiffusionPipeline:
        """Create the pipeline of this task from another one. They share their components; no weights are copied.

        Args:
            pipeline, kwargs: those of `DiffusionPipeline.from_pipe`. With `controlnet`, a ControlNet or a list, the
                class is the one with ControlNets; with `controlnet=None`, it is the one without.

        Raises:
            InputError: the family of the pipeline has no pipeline for this task, or components are missing.
        """
        names = [base.__name__ for base in type(pipeline).__mro__]  # a subclass belongs to the family of its base
        name = next((name for name in names if registry.family(name)), names[0])
        found = cls._class_in_family(_family(name, kwargs), name)
        return found.from_pipe(pipeline, **kwargs)

    @classmethod
    def _class_in_family(cls, family: str, name: str) -> type[DiffusionPipeline]:
        """The class for this task in a family; `name` is the pipeline that is given, for the message."""
        available = [entry for entry in registry.entries("pipeline") if entry.family and entry.task == cls._task]
        found = next((entry for entry in available if entry.family == family), None)
        if found is None:
            raise InputError(
                f"There is no {cls._task} pipeline for the components of {name}.",
                expected="one of " + ", ".join(entry.name for entry in available),
                remedy="load the pipeline by its own class.",
            )
        return found.load()


def _family(name: str, kwargs: dict[str, Any]) -> str:
    """The family of the pipeline `name`, with or without ControlNets as `controlnet` in `kwargs` requires.

    `controlnet=None` is removed from `kwargs`: the class without ControlNets does not accept it.
    """
    entry = registry.find(name)
    family = "" if entry is None else entry.family
    if "controlnet" not in kwargs:
        return family
    plain = family.removesuffix(_UNION).removesuffix(_WITH_CONTROLNETS)
    networks = kwargs["controlnet"]
    if networks is None:
        del kwargs["controlnet"]
        return plain
    several = networks if isinstance(networks, list | tuple) else [networks]
    union = any(isinstance(network, ControlNetUnionModel | MultiControlNetUnionModel) for network in several)
    return plain + _WITH_CONTROLNETS + (_UNION if union else "")


class AutoPipelineForText2Image(_AutoPipeline):
    """Text to image."""

    _task = registry.TEXT_TO_IMAGE


class AutoPipelineForImage2Image(_AutoPipeline):
    """Image to image, guided by a prompt."""

    _task = registry.IMAGE_TO_IMAGE


class AutoPipelineForInpainting(_AutoPipeline):
    """Inpainting of the masked part of an image."""

    _task = registry.INPAINTING
