"""What the reader of one family gives, and the ways in which training checkpoints keep averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppdiffusers.convert.rules import Rule
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import LazyTensor

Tensors = Mapping[str, LazyTensor]


@dataclass(frozen=True)
class Network:
    """One network of an original checkpoint.

    Attributes:
        name: of the component in our pipeline.
        class_name: of ours.
        config: what ours is built with.
        rules: from the original's names to ours.
        tensors: in the original's names, and nothing that belongs to another network.
    """

    name: str
    class_name: str
    config: dict[str, Any]
    rules: tuple[Rule, ...]
    tensors: Tensors


@dataclass(frozen=True)
class OriginalModel:
    """A whole original checkpoint, described in our terms.

    Attributes:
        pipeline: class of the pipeline; None where none of ours can be called with this network.
        networks: its networks.
        scheduler: class and configuration.
        left_out: what of the checkpoint is not taken over, and why.
    """

    pipeline: str | None
    networks: tuple[Network, ...]
    scheduler: tuple[str, dict[str, Any]]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """How a family keeps one network, for the way back.

    Attributes:
        class_name: of ours.
        rules: gives the rules for a configuration of ours.
        fixed: what our configuration says for every network of the family.
        prefix: what stands in front of the original's names in a checkpoint.
        fewest_attended: channels below which the original's attention differs from ours.
    """

    class_name: str
    rules: Callable[[Mapping[str, Any]], tuple[Rule, ...]]
    fixed: Mapping[str, Any]
    prefix: str = ""
    fewest_attended: int = 0

    def problems(self, config: Mapping[str, Any]) -> list[str]:
        """Why no network of the family has this configuration; nothing when one has."""
        found = [
            f"{key} is {config.get(key)!r}, such networks have {value!r}"
            for key, value in self.fixed.items()
            if not _same(config.get(key), value)
        ]
        down, up = (["Attn" in name for name in config[f"{kind}_block_types"]] for kind in ("down", "up"))
        if down != up[::-1]:
            found.append("attention going up is not where it is going down")
        return found + narrow_attention(config["block_out_channels"], down, self.fewest_attended)


def _same(one: Any, other: Any) -> bool:
    """Equal, or numbers that agree to the digits that configurations are written with."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def narrow_attention(widths: Iterable[int], attended: Iterable[bool], fewest: int) -> list[str]:
    """A sentence if a level with attention has fewer channels than `fewest`."""
    narrow = [width for width, attend in zip(widths, attended) if attend and width < fewest]
    return [f"attention over {narrow} channels: {fewest} are the fewest that can be converted"] if narrow else []


def under(tensors: Tensors, prefix: str) -> dict[str, LazyTensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def without_wrapper(tensors: Tensors) -> dict[str, LazyTensor]:
    """Names without the `module.` that training on several devices puts in front of all of them."""
    inside = under(tensors, "module.")
    return inside if len(inside) == len(tensors) else dict(tensors)


def shape_of(tensors: Tensors, name: str) -> tuple[int, ...]:
    """The shape of a tensor that has to be there.

    Raises:
        WeightsError: it is not.
    """
    if name not in tensors:
        raise absent(tensors, name)
    return tensors[name].shape


def absent(tensors: Tensors, name: str) -> WeightsError:
    """The error for a checkpoint that lacks what every one of its family has."""
    beginnings = sorted({key.partition(".")[0] for key in tensors})
    return WeightsError(
        f"The checkpoint has no {name}: it is not complete, or of another family.",
        problems=[f"its names begin with {', '.join(beginnings[:20]) or 'nothing: it has no tensors'}"],
    )


def members(tensors: Tensors, prefix: str) -> int:
    """How many numbers follow `prefix`, counted from 0: {"down.0.x", "down.1.x"} and "down." give 2."""
    numbers = {name[len(prefix) :].partition(".")[0] for name in tensors if name.startswith(prefix)}
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def averaged_in_order(trained: Tensors, averages: Tensors, untrained: Iterable[str]) -> dict[str, LazyTensor]:
    """Averages that are kept as a list: the one of every parameter that was trained, in the order of the parameters.

    Args:
        trained: all tensors of the network.
        averages: "0", "1", ... and their tensors.
        untrained: names that have no average, and keep their value.

    Raises:
        WeightsError: the numbers or shapes of the two differ.
    """
    untrained = set(untrained)
    names = [name for name in trained if name not in untrained]
    listed = [averages[key] for key in sorted(averages, key=int)]
    if [trained[name].shape for name in names] != [tensor.shape for tensor in listed]:
        raise WeightsError(
            "The averaged weights do not fit the trained ones.",
            problems=[f"{len(names)} trained tensors", f"{len(listed)} averages, or of other shapes"],
            remedy="give --no_ema to convert the trained weights.",
        )
    return {**trained, **dict(zip(names, listed, strict=True))}


def averaged_without_dots(trained: Tensors, averages: Tensors, prefix: str) -> dict[str, LazyTensor]:
    """Averages under names whose dots were taken out, `prefix` before them: CompVis' LitEma.

    Raises:
        WeightsError: a tensor has no average.
    """
    squeezed = {name: f"{prefix}{name}".replace(".", "") for name in trained}
    missing = [f"no average of {name} ({key})" for name, key in squeezed.items() if key not in averages]
    if missing:
        raise WeightsError(
            "The averaged weights are not complete.",
            problems=missing,
            remedy="give --no_ema to convert the trained weights.",
        )
    return {name: averages[key] for name, key in squeezed.items()}
