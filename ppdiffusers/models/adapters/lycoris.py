"""The adapters of LyCORIS (arXiv 2309.14859) other than LoRA: each computes the change of a whole weight.

Tensors have the names and the layout of LyCORIS' files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.deltas import Delta
from ppdiffusers.models.adapters.layers import AdapterLayer

Tensors = Mapping[str, paddle.Tensor]


class WeightDelta(Delta):
    """Base of deltas that compute a weight in PyTorch's layout, [out, in, ...] or flattened after the first axis.

    Args:
        tensors: name -> tensor.
        alpha: the delta is scaled by alpha / rank; by default alpha is the rank.
    """

    required: tuple[frozenset[str], ...] = ()  # alternative sets of names

    def __init__(self, tensors: Tensors, alpha: float | None = None):
        if frozenset(tensors) - {"bias"} not in self.required:
            raise InputError(
                f"the tensors {', '.join(sorted(tensors))} are not those of one {type(self).__name__}",
                expected=", or ".join(" and ".join(sorted(names)) for names in self.required),
            )
        rank = self._rank(tensors)
        super().__init__(dict(tensors), scaling=1.0 if alpha is None or rank is None else alpha / rank)

    def factors(self) -> dict[str, paddle.Tensor]:
        """Return the tensors by name in float32; while a program is traced, its inputs."""
        return {name: tensor.astype("float32") for name, tensor in self.named().items()}

    @staticmethod
    def _rank(tensors: Tensors) -> int | None:
        """Return the rank that alpha is relative to; None if the delta is not factorized."""
        raise AssertionError("each kind of adapter overrides this")

    def _weight(self) -> paddle.Tensor:
        """Compute the change of the weight, before scaling."""
        raise AssertionError("each kind of adapter overrides this")

    def mismatch(self, layer: nn.Layer) -> str | None:
        shape = list(reversed(layer.weight.shape)) if isinstance(layer, nn.Linear) else list(layer.weight.shape)
        with paddle.no_grad():
            try:
                found = list(self._weight().shape)
            except ValueError:  # Paddle's error of matrices that cannot be multiplied
                return "the shapes of its tensors do not fit each other"
        if math.prod(found) == math.prod(shape) and found[0] == shape[0]:
            return super().mismatch(layer)
        return f"{type(self).__name__} changes a weight {found}, expected {shape}"

    def delta_weight(self, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        weight = self._weight() * scale
        if isinstance(layer, nn.Linear):
            return weight.flatten(1).transpose([1, 0])  # [in, out]
        return weight.reshape(layer.weight.shape)


_HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


class LoHa(WeightDelta):
    """The Hadamard product of two low-rank products: (w1_a w1_b) * (w2_a w2_b), with a Tucker core in `hada_t1/2`."""

    required = (frozenset(_HADA), frozenset({*_HADA, "hada_t1", "hada_t2"}))

    @staticmethod
    def _rank(tensors: Tensors) -> int:
        return tensors["hada_w1_b"].shape[0]

    def _weight(self) -> paddle.Tensor:
        named = self.factors()
        factors = [(named[f"hada_w{n}_a"], named[f"hada_w{n}_b"], named.get(f"hada_t{n}")) for n in (1, 2)]
        first, second = (a @ b if core is None else _tucker(core, a, b) for a, b, core in factors)
        return first * second


class LoKr(WeightDelta):
    """The Kronecker product of w1 and w2, each whole or a low-rank product; w2 may have a Tucker core in `lokr_t2`."""

    required = tuple(
        frozenset({*first, *second})
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_w2_a", "lokr_w2_b", "lokr_t2"))
    )

    @staticmethod
    def _rank(tensors: Tensors) -> int | None:
        factor = next((tensors[name] for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors), None)
        return None if factor is None else factor.shape[0]

    def _weight(self) -> paddle.Tensor:
        named = self.factors()
        first = named["lokr_w1"] if "lokr_w1" in named else named["lokr_w1_a"] @ named["lokr_w1_b"]  # [l, m]
        if "lokr_w2" in named:
            second = named["lokr_w2"]  # [p, q, ...]
        elif "lokr_t2" in named:
            second = _tucker(named["lokr_t2"], named["lokr_w2_a"], named["lokr_w2_b"])
        else:
            second = named["lokr_w2_a"] @ named["lokr_w2_b"]
        (rows, columns), (p, *rest) = first.shape, second.shape
        product = first.reshape([rows, 1, columns, 1]) * second.reshape([1, p, 1, -1])  # [l, p, m, q * ...]
        return product.reshape([rows * p, columns * rest[0], *rest[1:]])


class Full(WeightDelta):
    """A change of the whole weight, as trained without a factorization, or extracted from a fine-tuned model.

    The change of the bias, LyCORIS' "diff_b", is the tensor "bias". The weight of a norm is a vector.
    """

    required = (frozenset({"diff"}),)

    @staticmethod
    def _rank(tensors: Tensors) -> None:
        return None

    def _weight(self) -> paddle.Tensor:
        return self.factors()["diff"]


def _tucker(core: paddle.Tensor, a: paddle.Tensor, b: paddle.Tensor) -> paddle.Tensor:
    """Multiply a core [i, j, k, l] by a [i, p] and b [j, r]: [p, r, k, l]."""
    i, j, *kernel = core.shape
    left = paddle.matmul(a, core.reshape([i, -1]), transpose_x=True)  # [p, j * k * l]
    left = left.reshape([a.shape[1], j, -1]).transpose([0, 2, 1])  # [p, k * l, j]
    product = paddle.matmul(left, b).transpose([0, 2, 1])  # [p, r, k * l]
    return product.reshape([a.shape[1], b.shape[1], *kernel])
