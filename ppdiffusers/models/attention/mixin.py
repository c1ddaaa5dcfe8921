"""Access to the attention processors of a whole network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.attention.processors import AttentionProcessor
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


class AttentionMixin:
    """Get and set the processors and slices of all attention layers of an `nn.Layer`."""

    @property
    def attn_processors(self) -> dict[str, AttentionProcessor]:
        """The processor of each attention layer, such as `mid_block.attentions.0.processor`."""
        return {name: layer.get_processor() for name, layer in self._attention_layers()}

    def set_attn_processor(self, processor: AttentionProcessor | Mapping[str, AttentionProcessor]) -> None:
        """Set the processor of all attention layers.

        Args:
            processor: one processor for all layers, or one for each of the names in `attn_processors`.

        Raises:
            InputError: the names of the dict are not those of `attn_processors`.
        """
        layers = dict(self._attention_layers())
        if not isinstance(processor, Mapping):
            processor = dict.fromkeys(layers, processor)
        _check_names(layers, processor)
        for name, layer in layers.items():
            layer.set_processor(processor[name])

    def set_default_attn_processor(self) -> None:
        """Restore the default processor of each attention layer."""
        for _, layer in self._attention_layers():
            layer.set_processor(layer.default_processor())

    def fuse_qkv_projections(self) -> None:
        """Compute queries, keys and values of each attention layer by one matrix product; the result is the same.

        The weights are copied: fuse again after changing them. Saved files have the original weights.

        Raises:
            InputError: layers with added keys and values cannot be fused.
        """
        layers = [layer for layer in self.sublayers() if isinstance(layer, Attention)]
        added = [name for name, layer in self.named_sublayers() if getattr(layer, "added_kv_proj_dim", None)]
        if added:
            raise InputError("Attention layers with added keys and values cannot be fused.", problems=added)
        for layer in layers:
            layer.fuse_projections()

    def unfuse_qkv_projections(self) -> None:
        """Compute queries, keys and values separately again, with the processors that the layers had before."""
        for layer in self.sublayers():
            if isinstance(layer, Attention):
                layer.unfuse_projections()

    def enable_xformers_memory_efficient_attention(self, attention_op: object = None) -> None:
        """Do nothing but log it: Paddle's attention kernels are memory-efficient without xFormers."""
        self.set_use_memory_efficient_attention_xformers(True, attention_op)

    def disable_xformers_memory_efficient_attention(self) -> None:
        """Do nothing: xFormers is not used."""
        self.set_use_memory_efficient_attention_xformers(False)

    def set_use_memory_efficient_attention_xformers(self, valid: bool, attention_op: object = None) -> None:
        if valid:
            logger.info("xFormers is not used: Paddle's attention kernels are memory-efficient without it.")

    @property
    def has_custom_attn_processors(self) -> bool:
        """Whether a processor may do more than compute, so that compiled programs cannot replace it."""
        return any(not getattr(layer.get_processor(), "compilable", False) for _, layer in self._attention_layers())

    def set_attention_slice(self, slice_size: str | int | list[int | None] | None = "auto") -> None:
        """Compute attention a few heads at a time: less memory, a little slower, the same result.

        Args:
            slice_size: "auto" for half of the heads at a time, "max" for one head, a number of heads, or a list with
                one number for each attention layer. None is the default: as many heads as fit the memory limit.

        Raises:
            InputError: a number does not fit the heads, or the list does not fit the layers.
        """
        layers = [layer for layer in self.sublayers() if isinstance(layer, Attention)]
        sizes = list(slice_size) if isinstance(slice_size, (list, tuple)) else [slice_size] * len(layers)
        if len(sizes) != len(layers):
            raise InputError(f"slice_size has {len(sizes)} entries for {len(layers)} attention layers.")
        presets = {"auto": lambda heads: max(1, heads // 2), "max": lambda heads: 1}
        for layer, size in zip(layers, sizes):
            layer.set_attention_slice(presets[size](layer.heads) if size in presets else size)

    def _attention_layers(self) -> Iterator[tuple[str, nn.Layer]]:
        """Yield the layers that have a processor, with the processor's name."""
        for name, layer in self.named_sublayers():
            if hasattr(layer, "get_processor"):
                yield f"{name}.processor", layer


def _check_names(layers: Mapping[str, nn.Layer], processors: Mapping[str, AttentionProcessor]) -> None:
    problems = []
    if len(processors) != len(layers):
        problems.append(f"the number of processors {len(processors)} does not match the number of layers {len(layers)}")
    problems += [f"unknown name {name!r}" for name in processors if name not in layers]
    problems += [f"no processor for {name!r}" for name in layers if name not in processors]
    if problems:
        raise InputError(
            "The dict of processors does not match the attention layers.",
            problems=problems,
            expected="one processor for each name in `attn_processors`",
        )
