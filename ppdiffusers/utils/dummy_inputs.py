"""Building blocks of `dummy_inputs`: small random numpy arrays made from a network's configuration.

A network's `dummy_inputs` and `reference_outputs` are called by verification, which runs the same network in PyTorch
and in Paddle. Nothing here imports either framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

BATCH = 2
LARGEST_SIZE = 32  # height and width that pass through every layer of a full-size network on a CPU within seconds
SEQUENCE = 7  # tokens that a UNet attends to

# Keyword arguments of a call; a value is an array, a number, a list of them (`controlnet_cond` of several images), or
# keyword arguments again (`added_cond_kwargs`).
DummyInputs = dict[str, Any]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw standard normal float32 values."""
    return rng.standard_normal(shape).astype(np.float32)


def small_size(sample_size: int | tuple[int, int] | None, levels: int) -> int:
    """Choose a height and width that `levels` levels can halve, no larger than needed."""
    size = sample_size or LARGEST_SIZE
    size = min(size if isinstance(size, int) else min(size), LARGEST_SIZE)
    step = 2**levels
    return max(step, size // step * step)


def make_class_labels(config: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray | None:
    """Make labels [B] or embeddings [B, D] for the class embedding of a UNet; None if it has no class embedding."""
    kind = config.get("class_embed_type")
    if kind == "timestep":
        return rng.integers(0, 1000, BATCH)
    if kind == "identity":
        return normal(rng, BATCH, 4 * config["block_out_channels"][0])
    if kind in ("projection", "simple_projection"):
        return normal(rng, BATCH, config["projection_class_embeddings_input_dim"])
    if config.get("num_class_embeds"):
        return rng.integers(0, config["num_class_embeds"], BATCH)
    return None


def unet_timestep(config: Mapping[str, Any]) -> np.ndarray | int:
    """Choose a timestep. Fourier features oscillate fast: float32 represents those of small times only."""
    fourier = config.get("time_embedding_type") == "fourier"
    return np.full(BATCH, 0.3, dtype=np.float32) if fourier else 321


def prompt_embeddings(width: int | tuple[int, ...], rng: np.random.Generator, length: int = SEQUENCE) -> np.ndarray:
    """Make `encoder_hidden_states` [B, length, width]."""
    return normal(rng, BATCH, length, width if isinstance(width, int) else width[0])


def clip_token_ids(config: Any, rng: np.random.Generator) -> np.ndarray:
    """Make `input_ids` [B, S] of a CLIP text encoder that end in several end-of-text tokens, as padded prompts do."""
    length = config.max_position_embeddings
    ids = rng.integers(0, config.vocab_size, (BATCH, length))  # [B, S]
    if config.eos_token_id < config.vocab_size:
        ids[:, -length // 3 :] = config.eos_token_id
    return ids


def padded_token_ids(config: Any, rng: np.random.Generator) -> DummyInputs:
    """Make `input_ids` and `attention_mask` [B, S] of two prompts, the second one padded."""
    ids = rng.integers(config.eos_token_id + 1, config.vocab_size, (BATCH, 9))  # [B, S]
    ids[1, 6:] = config.pad_token_id
    return {"input_ids": ids, "attention_mask": (ids != config.pad_token_id).astype(np.int64)}


def pixel_values(config: Any, rng: np.random.Generator) -> np.ndarray:
    """Make `pixel_values` [B, C, H, W] of an image encoder, at the size that its configuration names."""
    return normal(rng, BATCH, config.num_channels, config.image_size, config.image_size)


def as_tensors(inputs: DummyInputs, tensor: Callable[[np.ndarray], Any]) -> DummyInputs:
    """Turn every array in `inputs` into a tensor of one framework, such as `paddle.to_tensor` makes."""
    return {name: _as_tensor(value, tensor) for name, value in inputs.items()}


def _as_tensor(value: Any, tensor: Callable[[np.ndarray], Any]) -> Any:
    if isinstance(value, dict):
        return as_tensors(value, tensor)
    if isinstance(value, list):
        return [_as_tensor(one, tensor) for one in value]
    return tensor(value) if isinstance(value, np.ndarray) else value


def tensor_fields(output: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the tensors of an output object of either framework; tuples and None are left out."""
    return {name: value for name, value in output.items() if hasattr(value, "numpy")}
