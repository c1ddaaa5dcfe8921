"""One name for each task: the class of pipeline is chosen by what a folder, or another pipeline, is for."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ppdiffusers.convert.model_index import INDEX_NAME, parse_model_index
from ppdiffusers.core.config import ConfigMixin, read_json
from ppdiffusers.core.errors import InputError
from ppdiffusers.io.required_files import NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline

# Each line is one kind of checkpoint: its pipelines for the tasks in this order, None where it has none.
TASKS = ("text to picture", "picture to picture", "inpainting")
FAMILIES: tuple[tuple[str | None, str | None, str | None], ...] = (
    ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"),
    ("StableDiffusionPipelineSafe", None, None),
    ("AltDiffusionPipeline", "AltDiffusionImg2ImgPipeline", None),
    ("LDMTextToImagePipeline", None, None),
    ("VQDiffusionPipeline", None, None),
)


class _AutoPipeline(ConfigMixin):
    """Chooses a class for `_task` and lets it load, or share; it is never made itself."""

    config_name = INDEX_NAME
    _task = ""

    def __init__(self, *args: Any, **kwargs: Any):
        name = type(self).__name__
        raise InputError(
            f"{name} chooses a class and has no objects of its own.",
            remedy=f"call `{name}.from_pretrained(folder)` or `{name}.from_pipe(pipeline)`.",
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_or_path: str | os.PathLike, **kwargs: Any) -> DiffusionPipeline:
        """Load the pipeline of this task for the checkpoint in a folder, or on a hub, whatever class its index names.

        Args:
            pretrained_model_or_path, kwargs: those of `DiffusionPipeline.from_pretrained`.

        Raises:
            InputError: checkpoints of this kind are not for this task.
            SourceError, ConfigError: as `DiffusionPipeline.from_pretrained` does.
        """
        source = pop_hub_options(dict(kwargs))
        folder = resolve_folder(pretrained_model_or_path, None, NamedFiles((INDEX_NAME,)), source)
        raw = read_json(folder / INDEX_NAME)
        # what the caller brings along need not be known to us
        index = parse_model_index({name: entry for name, entry in raw.items() if name not in kwargs})
        return cls._class_beside(index.pipeline).from_pretrained(pretrained_model_or_path, **kwargs)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> DiffusionPipeline:
        """Make the pipeline of this task from another one; they share their components, so no weights are copied.

        Args:
            pipeline, kwargs: those of `DiffusionPipeline.from_pipe`.

        Raises:
            InputError: pipelines of this kind are not for this task, or components are missing.
        """
        # a class that a user derived is of the kind that it was derived from
        known = {name for family in FAMILIES for name in family}
        names = [base.__name__ for base in type(pipeline).__mro__]
        name = next((name for name in names if name in known), names[0])
        return cls._class_beside(name).from_pipe(pipeline, **kwargs)

    @classmethod
    def _class_beside(cls, name: str) -> type[DiffusionPipeline]:
        """The class of this task in the family of the class `name`."""
        task = TASKS.index(cls._task)
        found = next((family[task] for family in FAMILIES if name in family), None)
        if found is None:
            raise InputError(
                f"There is no pipeline for {cls._task} with what {name} is made of.",
                expected="one of " + ", ".join(n for family in FAMILIES if family[task] for n in family if n),
                remedy="load the pipeline by its own class.",
            )
        return getattr(importlib.import_module("ppdiffusers"), found)


class AutoPipelineForText2Image(_AutoPipeline):
    """Text to picture."""

    _task = "text to picture"


class AutoPipelineForImage2Image(_AutoPipeline):
    """Picture and text to picture."""

    _task = "picture to picture"


class AutoPipelineForInpainting(_AutoPipeline):
    """Painting what a mask uncovers."""

    _task = "inpainting"
