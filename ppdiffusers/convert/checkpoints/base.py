"""What a reader returns, and functions that readers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ppdiffusers.convert.rules import Rule
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import LazyTensor

if TYPE_CHECKING:
    from ppdiffusers.convert.checkpoints.settings import Settings

Tensors = Mapping[str, LazyTensor]


@dataclass(frozen=True)
class Network:
    """One network of an original checkpoint.

    Attributes:
        name: name of the component in our pipeline.
        class_name: our class.
        config: configuration of our class.
        rules: map the original tensor names to ours.
        tensors: tensors of this network, by their original names.
    """

    name: str
    class_name: str
    config: dict[str, Any]
    rules: tuple[Rule, ...]
    tensors: Tensors


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of an original checkpoint.

    Attributes:
        class_name: our class.
        files: argument of the class -> part of the checkpoint (`CheckpointFamily.parts`) whose file it reads; without
            files it is the tokenizer of OpenAI's CLIP, which is part of ppdiffusers.
        settings: other arguments.
    """

    class_name: str
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OriginalModel:
    """An original checkpoint, described in terms of our classes.

    Attributes:
        pipeline: class name of the pipeline; None if no pipeline of ours can call the network.
        networks: all networks of the checkpoint.
        scheduler: class name and configuration of the component `scheduler`; None if there is none.
        left_out: parts of the checkpoint that are not converted, and the reason.
        schedulers: component name -> class name and configuration, of further schedulers.
        tokenizers: component name -> tokenizer.
    """

    pipeline: str | None
    networks: tuple[Network, ...]
    scheduler: tuple[str, dict[str, Any]] | None
    left_out: dict[str, str] = field(default_factory=dict)
    schedulers: Mapping[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """How a family stores one network, for the conversion to an original checkpoint.

    Attributes:
        class_name: our class.
        rules: returns the renaming rules for a configuration of our class.
        fixed: values that our configuration has for every network of the family.
        prefix: prefix of the original names in a checkpoint; "base/" is the part of a checkpoint of several files.
        optional: the pipeline may lack the network.
        min_attention_channels: with fewer channels, attention of the original differs from ours.
    """

    class_name: str
    rules: Callable[[Mapping[str, Any]], tuple[Rule, ...]]
    fixed: Mapping[str, Any]
    prefix: str = ""
    optional: bool = False
    min_attention_channels: int = 0

    def problems(self, config: Mapping[str, Any]) -> list[str]:
        """List why a network with this configuration does not belong to the family."""
        found = [
            f"{key} is {config.get(key)!r}, expected {value!r}"
            for key, value in self.fixed.items()
            if not _same(config.get(key), value)
        ]
        if "down_block_types" not in config:  # not a UNet
            return found
        down, up = (["Attn" in name for name in config[f"{kind}_block_types"]] for kind in ("down", "up"))
        if down != up[::-1]:
            found.append("the up blocks do not have attention at the same levels as the down blocks")
        return found + check_attention_channels(config["block_out_channels"], down, self.min_attention_channels)


class Reader(Protocol):
    """A module `convert/checkpoints/<family>.py`."""

    def read(self, settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
        """Describe a checkpoint; `ema` prefers averaged weights.

        The names of tensors in a checkpoint of several files start with the name of their part: "base/out.0.bias".
        """

    def layouts(self, settings: Settings) -> dict[str, Layout]:
        """Return the layout of each network by the name of its component."""


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; floats are compared up to the precision of configuration files."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def check_attention_channels(channels: Iterable[int], has_attention: Iterable[bool], minimum: int) -> list[str]:
    """Return a problem if a level with attention has fewer channels than `minimum`."""
    narrow = [width for width, attention in zip(channels, has_attention) if attention and width < minimum]
    return [f"attention over {narrow} channels: at least {minimum} are supported"] if narrow else []


def strip_prefix(tensors: Tensors, prefix: str) -> dict[str, LazyTensor]:
    """Return the tensors whose names start with `prefix`, without the prefix."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def strip_data_parallel(tensors: Tensors) -> dict[str, LazyTensor]:
    """Return the tensors without the prefix `module.` that DataParallel adds to every name."""
    inside = strip_prefix(tensors, "module.")
    return inside if len(inside) == len(tensors) else dict(tensors)


def shape_of(tensors: Tensors, name: str) -> tuple[int, ...]:
    """Return the shape of a required tensor.

    Raises:
        WeightsError: the tensor is missing.
    """
    if name not in tensors:
        raise missing_tensor(tensors, name)
    return tensors[name].shape


def missing_tensor(tensors: Tensors, name: str) -> WeightsError:
    """Return the error for a checkpoint without a tensor that every checkpoint of its family has."""
    prefixes = sorted({key.partition(".")[0] for key in tensors})
    return WeightsError(
        f"The checkpoint does not contain {name}: it is incomplete, or belongs to another family.",
        problems=[f"its tensor names start with {', '.join(prefixes[:20])}" if prefixes else "it contains no tensors"],
    )


def count_indices(tensors: Tensors, prefix: str) -> int:
    """Count the indices, from 0, that follow `prefix`: {"down.0.x", "down.1.x"} and "down." return 2."""
    indices = {name[len(prefix) :].partition(".")[0] for name in tensors if name.startswith(prefix)}
    return 1 + max((int(index) for index in indices if index.isdecimal()), default=-1)


def ema_from_list(trained: Tensors, averages: Tensors, untrained: Iterable[str]) -> dict[str, LazyTensor]:
    """Match averages that are stored as a list, in the order of the trained parameters, with their names.

    Args:
        trained: all tensors of the network.
        averages: averaged tensors by their index: "0", "1", ...
        untrained: names of tensors without an average, which keep their value.

    Raises:
        WeightsError: the numbers or shapes of both differ.
    """
    untrained = set(untrained)
    names = [name for name in trained if name not in untrained]
    listed = [averages[key] for key in sorted(averages, key=int)]
    if [trained[name].shape for name in names] != [tensor.shape for tensor in listed]:
        raise WeightsError(
            "The averaged weights do not match the trained weights.",
            problems=[f"{len(names)} trained tensors", f"{len(listed)} averaged tensors, or tensors of other shapes"],
            remedy="pass --no_ema (Python: ema=False) to convert the trained weights.",
        )
    return {**trained, **dict(zip(names, listed, strict=True))}


def ema_without_dots(trained: Tensors, averages: Tensors, prefix: str) -> dict[str, LazyTensor]:
    """Match averages that CompVis' LitEma stores as `prefix` + name without dots, with the names of the parameters.

    Raises:
        WeightsError: the average of a tensor is missing.
    """
    keys = {name: f"{prefix}{name}".replace(".", "") for name in trained}
    missing = [f"missing: average of {name} ({key})" for name, key in keys.items() if key not in averages]
    if missing:
        raise WeightsError(
            "The averaged weights are incomplete.",
            problems=missing,
            remedy="pass --no_ema (Python: ema=False) to convert the trained weights.",
        )
    return {name: averages[key] for name, key in keys.items()}
