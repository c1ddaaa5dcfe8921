"""`from_single_file` of networks."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import paddle

from ppdiffusers.convert.single_files.original_config import with_original_config
from ppdiffusers.convert.single_files.published import Family
from ppdiffusers.convert.single_files.recognition import recognise
from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.core.files import expand_user
from ppdiffusers.io.pretrained import fill_layer, load_config_from, target_dtype
from ppdiffusers.io.resolve import pop_hub_options
from ppdiffusers.io.single_file import log_unused, open_single_file, place, read_original_config
from ppdiffusers.io.weights import Checkpoint
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from typing_extensions import Self

logger = get_logger(__name__)

# Legacy names of configuration keys.
_RENAMED = {"num_in_channels": "in_channels"}
# Arguments of diffusers without an effect here: weights are always read one by one, and never mapped.
_IGNORED = ("disable_mmap", "device", "quantization_config", "config_revision")


class FromOriginalModelMixin:
    """Loading of a network from a single file.

    Class attributes:
        single_file_component: name of the component in a pipeline.
    """

    single_file_component: ClassVar[str]

    @classmethod
    def from_single_file(cls, pretrained_model_link_or_path_or_dict: Any = None, **kwargs: Any) -> Self:
        """Load a network, in eval mode, from a file of CompVis, Stability, the web UI, ComfyUI, or of diffusers.

        Args:
            pretrained_model_link_or_path_or_dict: a `.safetensors`, `.ckpt`, `.pt` or `.bin` file, its address on
                Hugging Face or ModelScope, or a dictionary of tensors.
            config: a folder, or the name of a model on a hub, with the configuration; by default that of the published
                model whose architecture the file has, which ships with ppdiffusers.
            subfolder: folder of the configuration in `config`.
            original_config: the YAML file of the original repository, its address, or its content, in place of
                `config`.
            torch_dtype: floating weights are cast to it; float32 by default, "auto" keeps the dtype of the file.
                `paddle_dtype` and `dtype` are aliases.
            extract_ema: use the averaged weights of the UNet if the file has both.
            kwargs: values that replace those of the configuration, and hub options (`local_files_only=True`, ...).

        Raises:
            SourceError: no such file.
            WeightsError: the file is damaged, has no network of this class, or tensors are missing or have wrong
                shapes; all of them are listed.
            UnsafeFileError: a pickle names code to run; nothing was run.
            InputError: unknown arguments, or both `config` and `original_config`.
        """
        if "pretrained_model_link_or_path" in kwargs:
            warnings.warn(
                "`pretrained_model_link_or_path` is deprecated: pass `pretrained_model_link_or_path_or_dict`.",
                FutureWarning,
                stacklevel=2,
            )
            pretrained_model_link_or_path_or_dict = kwargs.pop("pretrained_model_link_or_path")
        for name in _IGNORED:
            kwargs.pop(name, None)
        config, original_config = kwargs.pop("config", None), kwargs.pop("original_config", None)
        if config is not None and original_config is not None:
            raise InputError("`config` and `original_config` exclude each other.", expected="one of them")
        subfolder, image_size = kwargs.pop("subfolder", None), kwargs.pop("image_size", None)
        dtype = target_dtype(pop_dtype(kwargs))
        extract_ema = bool(kwargs.pop("extract_ema", False))
        options = pop_hub_options(kwargs)
        checkpoint = open_single_file(pretrained_model_link_or_path_or_dict, options, extract_ema)
        if config is None:
            family = cls._published(checkpoint)
            if original_config is not None:
                family = with_original_config(family, read_original_config(original_config, options), image_size)
            values = family.components[cls.single_file_component][1]
        else:
            values = load_config_from(*_config_folder(config, subfolder, cls.single_file_component), options=options)
        overrides = {_RENAMED.get(key, key): value for key, value in kwargs.items()}
        with paddle.LazyGuard():  # parameters get neither memory nor random values here
            layer, unused = cls.from_config(values, return_unused_kwargs=True, **overrides)
        if unused:
            raise InputError(
                f"{cls.__name__}.from_single_file does not know these arguments.",
                problems=[f"{key}={value!r}" for key, value in unused.items()],
                expected="arguments of from_single_file and keys of the configuration",
            )
        load_from_single_file(layer, checkpoint, dtype)
        return layer

    @classmethod
    def _published(cls, checkpoint: Checkpoint) -> Family:
        """Return the published model that the file belongs to."""
        family = recognise(checkpoint, checkpoint.metadata)
        if family is None or cls.single_file_component not in family.components:
            raise no_network(cls.__name__, family, checkpoint)
        logger.info("%s: %s", file_of(checkpoint) or "single file", family.title)
        return family


def load_from_single_file(layer: Any, checkpoint: Checkpoint, dtype: str | None) -> None:
    """Read the tensors of a single file into a network that was built under `paddle.LazyGuard`.

    Raises:
        WeightsError: tensors are missing or have wrong shapes; all of them are listed.
    """
    placed = place(layer, checkpoint)
    if placed is None:
        raise no_network(type(layer).__name__, recognise(checkpoint, checkpoint.metadata), checkpoint)
    if placed.problems:
        raise does_not_fit(type(layer).__name__, placed.problems, checkpoint)
    log_unused(checkpoint, [placed])
    fill_layer(layer, placed.tensors, dtype)
    layer.eval()


def pop_dtype(kwargs: dict[str, Any]) -> Any:
    """Remove the dtype from arguments and return it; None if it is not given."""
    given = [kwargs.pop(name, None) for name in ("torch_dtype", "paddle_dtype", "dtype")]
    return next((dtype for dtype in given if dtype is not None), None)


def file_of(checkpoint: Checkpoint) -> Path | None:
    """Return the path of a checkpoint; None for tensors in memory."""
    return checkpoint.files[0] if checkpoint.files else None


def no_network(class_name: str, family: Family | None, checkpoint: Checkpoint) -> WeightsError:
    """Return the error for a file without a network of this class."""
    found = sorted({name.partition(".")[0] for name in checkpoint})
    return WeightsError(
        f"The file has no {class_name}.",
        where=file_of(checkpoint),
        problems=[f"it is: {family.title}"] if family else [f"its tensor names start with {', '.join(found[:10])}"],
        remedy="`ppdiffusers info FILE` shows what the file is and what loads it.",
    )


def does_not_fit(name: str, problems: list[str], checkpoint: Checkpoint) -> WeightsError:
    """Return the error for tensors that are missing or have wrong shapes."""
    return WeightsError(
        f"The tensors of the file do not fit {name}. Names and shapes are those of the file.",
        where=file_of(checkpoint),
        problems=problems,
        remedy="check that the file is complete; pass `config=` with the folder of the model that it belongs to.",
    )


def _config_folder(config: Any, subfolder: str | None, component: str) -> tuple[Any, str, str | None]:
    """Return folder, name and subfolder of a configuration; the folder of a pipeline is accepted too."""
    if not isinstance(config, (str, os.PathLike)):
        raise InputError(
            f"config={type(config).__name__} is not supported.", expected="a folder, or the name of a model on a hub"
        )
    if subfolder is None:
        folder = expand_user(config)
        if not (folder / "config.json").is_file() and (folder / component).is_dir():
            subfolder = component
    return config, "config.json", subfolder
