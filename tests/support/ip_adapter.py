"""IP-Adapter files with random weights for tiny checkpoints, in the names of the original files (h94/IP-Adapter)."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from tests.support.parity import randomize, rng_for

VISION_WIDTH, PROJECTION = 40, 24  # channels of the image encoder's tokens, and of its pooled embedding
FACE = 20  # channels of the embedding of a face
KINDS = ("base", "plus", "full", "face_id", "face_id_plus")
FOLDER = "models"


def tiny_image_encoder(seed: int = 5) -> transformers.CLIPVisionModelWithProjection:
    """Three layers over images of 32 x 32 pixels: 17 tokens."""
    config = transformers.CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=PROJECTION,
    )
    return randomize(transformers.CLIPVisionModelWithProjection(config), seed)


def _linear(name: str, outputs: int, inputs: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _resampler(prefix: str, width: int, heads: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for n in range(4):
        layer = f"{prefix}layers.{n}"
        shapes |= _norm(f"{layer}.0.norm1", width) | _norm(f"{layer}.0.norm2", width) | _norm(f"{layer}.1.0", width)
        shapes |= _linear(f"{layer}.0.to_q", 64 * heads, width, bias=False)
        shapes |= _linear(f"{layer}.0.to_kv", 128 * heads, width, bias=False)
        shapes |= _linear(f"{layer}.0.to_out", width, 64 * heads, bias=False)
        shapes |= _linear(f"{layer}.1.1", 4 * width, width, bias=False)
        shapes |= _linear(f"{layer}.1.3", width, 4 * width, bias=False)
    return shapes


def projection_shapes(kind: str, context: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the image projection of a kind, for prompts with `context` channels."""
    if kind == "base":
        return _linear("proj", 4 * context, PROJECTION) | _norm("norm", context)
    if kind == "full":
        return (
            _linear("proj.0", VISION_WIDTH, VISION_WIDTH)
            | _linear("proj.2", context, VISION_WIDTH)
            | _norm("proj.3", context)
        )
    if kind == "face_id":
        return _linear("proj.0", 2 * FACE, FACE) | _linear("proj.2", 4 * context, 2 * FACE) | _norm("norm", context)
    if kind == "face_id_plus":
        width, prefix = context, "perceiver_resampler."  # equal widths: version 2 adds input and output
        return (
            _linear("proj.0", 2 * FACE, FACE)
            | _linear("proj.2", 4 * width, 2 * FACE)
            | _norm("norm", width)
            | _linear(f"{prefix}proj_in", width, VISION_WIDTH)
            | _linear(f"{prefix}proj_out", context, width)
            | _norm(f"{prefix}norm_out", context)
            | _resampler(prefix, width, heads=1)
        )
    width = 36
    return (
        {"latents": (1, 5, width)}
        | _linear("proj_in", width, VISION_WIDTH)
        | _linear("proj_out", context, width)
        | _norm("norm_out", context)
        | _resampler("", width, heads=2)
    )


def _random(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    values = rng_for(name, seed).standard_normal(shape).astype(np.float32)
    if len(shape) > 1:
        values /= np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1 + 0.3 * values
    return torch.from_numpy(values)


def ip_adapter_tensors(
    unet: diffusers.UNet2DConditionModel, kind: str = "base", seed: int = 0, lora: bool = False
) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of a file for a UNet: {"image_proj": ..., "ip_adapter": ...}."""
    context = unet.config.cross_attention_dim
    shapes = projection_shapes(kind, context)
    image_proj = {name: _random(name, shape, seed) for name, shape in shapes.items()}
    ip_adapter = {}
    for n, name in enumerate(unet.attn_processors):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        if name.endswith("attn2.processor"):
            for key in ("to_k_ip", "to_v_ip"):
                ip_adapter[f"{n}.{key}.weight"] = _random(f"{n}{key}", (layer.inner_dim, context), seed)
        for part in ("q", "k", "v", "out") if lora else ():
            projection = layer.to_out[0] if part == "out" else getattr(layer, f"to_{part}")
            outputs, inputs = projection.weight.shape
            for side, shape in (("down", (3, inputs)), ("up", (outputs, 3))):
                key = f"{n}.to_{part}_lora.{side}.weight"
                ip_adapter[key] = _random(key, shape, seed)
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}


def save_ip_adapter(path: Path, tensors: dict[str, dict[str, torch.Tensor]]) -> Path:
    """Save tensors as `.safetensors` or `.bin`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file({f"{part}.{key}": tensor for part, some in tensors.items() for key, tensor in some.items()}, path)
    return path


def save_ip_adapters(folder: Path, unet: diffusers.UNet2DConditionModel) -> Path:
    """Save a repository with an adapter of each kind and an image encoder in `FOLDER`."""
    for seed, kind in enumerate(KINDS):
        suffix = "bin" if kind in ("full", "face_id_plus") else "safetensors"
        save_ip_adapter(folder / FOLDER / f"{kind}.{suffix}", ip_adapter_tensors(unet, kind, seed))
    save_ip_adapter(folder / FOLDER / "face_id_lora.safetensors", ip_adapter_tensors(unet, "face_id", 9, lora=True))
    tiny_image_encoder().save_pretrained(folder / FOLDER / "image_encoder")
    return folder
