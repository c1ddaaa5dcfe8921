"""What an IP-Adapter file is, from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppdiffusers.convert.ip_adapter import (
    ATTENTION,
    BASE,
    FACE_ID,
    FACE_ID_PLUS,
    FULL_FACE,
    IMAGE_PROJECTION,
    KINDS,
    PLUS,
)
from ppdiffusers.core.tensors import LazyTensor

_POOLED = "proj.weight"
# Image projection -> variant, and the tensor whose inputs are the outputs of the image encoder; FaceID has none.
_VARIANTS: dict[str, tuple[str, str | None]] = {
    BASE.name: ("base", _POOLED),
    PLUS.name: ("Plus", "proj_in.weight"),
    FULL_FACE.name: ("full face", "proj.0.weight"),
    FACE_ID.name: ("FaceID", None),
    FACE_ID_PLUS.name: ("FaceID Plus", "perceiver_resampler.proj_in.weight"),
}


@dataclass(frozen=True)
class ImageEncoder:
    """An image encoder: its name, and the repository and folder that publish it."""

    name: str
    repository: str
    subfolder: str


_VIT_H = ImageEncoder("CLIP ViT-H", "h94/IP-Adapter", "models/image_encoder")
_VIT_G = ImageEncoder("CLIP ViT-bigG", "h94/IP-Adapter", "sdxl_models/image_encoder")
# (whether the adapter reads pooled embeddings, their channels or those of the hidden states) -> image encoder
_ENCODERS = {(True, 1024): _VIT_H, (False, 1280): _VIT_H, (True, 1280): _VIT_G, (False, 1664): _VIT_G}


@dataclass(frozen=True)
class IPAdapterInfo:
    """What an IP-Adapter file is.

    Attributes:
        variant: "base", "Plus", "full face", "FaceID", "FaceID Plus", or "unknown".
        cross_attention_dim: width of the prompt embeddings of the UNet that it is made for.
        channels: channels that it reads from an image encoder; None if it reads none.
        encoder: the published image encoder with these channels.
    """

    variant: str
    cross_attention_dim: int
    channels: int | None = None
    encoder: ImageEncoder | None = None


def describe_ip_adapter(tensors: Mapping[str, LazyTensor]) -> IPAdapterInfo | None:
    """Describe the tensors of a file; None if it is no IP-Adapter."""
    keys = [name for name in tensors if name.startswith(ATTENTION) and name.endswith("to_k_ip.weight")]
    start = len(IMAGE_PROJECTION)
    projection = {name[start:]: tensor for name, tensor in tensors.items() if name.startswith(IMAGE_PROJECTION)}
    if not keys or not projection:
        return None
    width = tensors[keys[0]].shape[-1]
    kind = next((kind for kind in KINDS if kind.matches(projection)), None)
    variant, key = ("unknown", None) if kind is None else _VARIANTS[kind.name]
    if key is None or key not in projection:
        return IPAdapterInfo(variant, width)
    channels = projection[key].shape[-1]
    return IPAdapterInfo(variant, width, channels, _ENCODERS.get((key == _POOLED, channels)))
