"""IP-Adapters of a UNet (arXiv 2308.06721): build them from the tensors of a file, attach, scale and detach them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import paddle
from paddle import nn

from ppdiffusers.convert.apply import apply_rules
from ppdiffusers.convert.ip_adapter import (
    ATTENTION,
    BASE,
    FACE_ID,
    FULL_FACE,
    IMAGE_PROJECTION,
    KINDS,
    PLUS,
)
from ppdiffusers.convert.rules import KeyMapping
from ppdiffusers.core.config import FrozenDict
from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.pretrained import load_checkpoint
from ppdiffusers.io.weights import Checkpoint
from ppdiffusers.models.adapters.image_projections import (
    ImageProjection,
    IPAdapterFaceIDImageProjection,
    IPAdapterFaceIDPlusImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
    MultiIPAdapterImageProjection,
)
from ppdiffusers.models.adapters.ip_adapter_processor import (
    IPAdapterAttnProcessor,
    IPAdapterAttnProcessor2_0,
    Scale,
)
from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Width of a head of the resamplers, which files do not record.
_HEAD = 64
# Tokens of one image, where the shapes of the file do not show them: all of CLIP ViT-L or ViT-H at 224 pixels.
_FULL_FACE_TOKENS = 257

Tensors = Mapping[str, LazyTensor]


class IPAdapter(nn.Layer):
    """The layers of one file: its image projection, and keys and values for each cross-attention of a UNet.

    State-dict keys are those of files, except in the image projection, which has the names of diffusers.

    Args:
        projection: the image projection.
        num_tokens: number of tokens that it returns for an image.
        layers: number of the cross-attention in files -> the layer in the UNet.
    """

    # files of Face ID adapters also contain a LoRA
    ignore_unexpected = (rf"^{re.escape(ATTENTION)}",)

    def __init__(self, projection: nn.Layer, num_tokens: int, layers: Mapping[int, Attention]):
        super().__init__()
        self.num_tokens = num_tokens
        self.image_proj = projection
        pairs = {str(n): _KeyAndValue(layer.cross_attention_dim, layer.inner_dim) for n, layer in layers.items()}
        self.ip_adapter = nn.LayerDict(pairs)


class _KeyAndValue(nn.Layer):
    def __init__(self, width: int, inner_dim: int):
        super().__init__()
        self.to_k_ip = nn.Linear(width, inner_dim, bias_attr=False)
        self.to_v_ip = nn.Linear(width, inner_dim, bias_attr=False)


# -- from files -------------------------------------------------------------------------------------------------------


def build_ip_adapters(unet: nn.Layer, checkpoints: Sequence[Checkpoint]) -> list[IPAdapter]:
    """Build IP-Adapters for a UNet, which is not changed.

    Args:
        checkpoints: one for each adapter, with the keys "image_proj.*" and "ip_adapter.*".

    Raises:
        InputError: the UNet cannot have IP-Adapters.
        WeightsError: files that are no IP-Adapters or do not fit the UNet; all problems of all files are listed.
    """
    layers = _cross_attention(unet)
    adapters, problems = [], []
    for n, checkpoint in enumerate(checkpoints):
        name = checkpoint.files[0].name if checkpoint.files else f"adapter {n}"
        try:
            adapters.append(_build(layers, checkpoint))
        except WeightsError as error:
            problems += [f"{name}: {problem}" for problem in error.problems or [error.what]]
    if problems:
        raise WeightsError(
            f"The IP-Adapter does not fit {type(unet).__name__}; nothing was changed. Shapes are Paddle's.",
            where=", ".join(str(c.files[0]) for c in checkpoints if c.files) or None,
            problems=problems,
            remedy="check that it was trained for this kind of model (SD 1.x, SD 2.x, SDXL).",
        )
    place, dtype = unet.device, unet.dtype
    for adapter in adapters:
        adapter.to(device=place, dtype=dtype)
        adapter.eval()
    return adapters


def _build(layers: Mapping[int, Attention], checkpoint: Checkpoint) -> IPAdapter:
    projection_tensors = {
        key.removeprefix(IMAGE_PROJECTION): tensor
        for key, tensor in checkpoint.items()
        if key.startswith(IMAGE_PROJECTION)
    }
    kind = next((kind for kind in KINDS if kind.matches(projection_tensors)), None)
    if kind is None:
        raise WeightsError(
            "this is no IP-Adapter: there is no known image projection under `image_proj`; keys: "
            + (", ".join(list(checkpoint)[:10]) or "(none)")
        )
    projection_tensors = apply_rules(kind.rules, projection_tensors, name=kind.name)
    with paddle.LazyGuard():
        projection, num_tokens = _projection(kind, projection_tensors)
        adapter = IPAdapter(projection, num_tokens, layers)
    attention = {key: tensor for key, tensor in checkpoint.items() if key.startswith(ATTENTION)}
    tensors = {f"{IMAGE_PROJECTION}{key}": tensor for key, tensor in projection_tensors.items()} | attention
    load_checkpoint(adapter, Checkpoint(tensors, checkpoint.framework, checkpoint.files, {}), None)
    unused = [key for key in attention if key.endswith("_ip.weight") and key not in adapter.state_dict()]
    if unused:
        logger.warning("The IP-Adapter has weights for layers that the UNet does not have: %s", ", ".join(unused))
    return adapter


def _projection(kind: KeyMapping, tensors: Tensors) -> tuple[nn.Layer, int]:
    """Build the image projection without weights, with the sizes of its tensors: (projection, tokens of an image)."""

    def size(key: str, axis: int) -> int:
        if key not in tensors or len(tensors[key].shape) <= axis:
            raise WeightsError(f"{kind.name} is incomplete: {key} is missing or has too few axes")
        return tensors[key].shape[axis]

    if kind is BASE:
        width = size("norm.weight", 0)
        tokens = size("image_embeds.weight", 0) // width
        return ImageProjection(size("image_embeds.weight", 1), width, tokens), tokens
    if kind is FULL_FACE:
        full = IPAdapterFullImageProjection(size("ff.net.0.proj.weight", 1), size("norm.weight", 0))
        return full, _FULL_FACE_TOKENS
    if kind is FACE_ID:
        width, inputs = size("norm.weight", 0), size("ff.net.0.proj.weight", 1)
        tokens = size("ff.net.2.weight", 0) // width
        mult = size("ff.net.0.proj.weight", 0) // inputs
        return IPAdapterFaceIDImageProjection(inputs, width, mult, tokens), tokens
    resampler = {
        "output_dims": size("proj_out.weight", 0),
        "depth": len({key.split(".")[1] for key in tensors if key.startswith("layers.")}),
        "dim_head": _HEAD,
        "heads": size("layers.0.attn.to_q.weight", 0) // _HEAD,
        "ffn_ratio": size("layers.0.ff.1.net.0.proj.weight", 0) // size("layers.0.ff.1.net.0.proj.weight", 1),
    }
    if kind is PLUS:
        tokens, width = size("latents", 1), size("latents", 2)
        plus = IPAdapterPlusImageProjection(
            size("proj_in.weight", 1), hidden_dims=width, num_queries=tokens, **resampler
        )
        return plus, tokens
    width, inputs = size("proj_in.weight", 0), size("proj.net.0.proj.weight", 1)
    tokens = size("proj.net.2.weight", 0) // width
    face = IPAdapterFaceIDPlusImageProjection(
        width,
        hidden_dims=size("proj_in.weight", 1),
        id_embeddings_dim=inputs,
        num_tokens=tokens,
        ffproj_ratio=size("proj.net.0.proj.weight", 0) // inputs,
        **resampler,
    )
    return face, tokens


def face_id_lora(unet: nn.Layer, tensors: Tensors) -> dict[str, LazyTensor]:
    """Return the LoRA in the file of a Face ID adapter, with the names of old attention processors; empty without.

    Args:
        tensors: those of the file, such as "ip_adapter.0.to_q_lora.down.weight".
    """
    names = {str(n): name for n, (name, _) in enumerate(_attention(unet))}
    found = {}
    for key, tensor in tensors.items():
        number, _, rest = key.removeprefix(ATTENTION).partition(".")
        if key.startswith(ATTENTION) and "_lora." in rest and number in names:
            found[f"unet.{names[number]}.processor.{rest}"] = tensor
    return found


# -- attaching --------------------------------------------------------------------------------------------------------


def attach_ip_adapters(unet: nn.Layer, adapters: Sequence[IPAdapter]) -> None:
    """Attach IP-Adapters to a UNet; they replace those that it has."""
    detach_ip_adapters(unet)
    projection = MultiIPAdapterImageProjection([adapter.image_proj for adapter in adapters])
    _set_sublayer(unet, "text_encoder_hid_proj", unet.encoder_hid_proj)  # of Kolors: applied to the prompt
    _set_sublayer(unet, "encoder_hid_proj", projection)
    object.__setattr__(unet, "_internal_dict", _ConfigWithAdapters(unet.config))
    for n, layer in _cross_attention(unet).items():
        with paddle.LazyGuard():
            processor = IPAdapterAttnProcessor2_0(
                layer.inner_dim, layer.cross_attention_dim, [adapter.num_tokens for adapter in adapters]
            )
        processor.to_k_ip = nn.LayerList([adapter.ip_adapter[str(n)].to_k_ip for adapter in adapters])
        processor.to_v_ip = nn.LayerList([adapter.ip_adapter[str(n)].to_v_ip for adapter in adapters])
        processor.train() if unet.training else processor.eval()
        layer.set_processor(processor)


def detach_ip_adapters(unet: nn.Layer) -> None:
    """Remove all IP-Adapters of a UNet: its layers, processors and state-dict keys are the original ones again."""
    if has_ip_adapters(unet):
        _set_sublayer(unet, "encoder_hid_proj", unet.text_encoder_hid_proj)
        _set_sublayer(unet, "text_encoder_hid_proj", None)
        object.__setattr__(unet, "_internal_dict", FrozenDict(unet.config))
    for _, layer in _attention(unet):
        if isinstance(layer.get_processor(), IPAdapterAttnProcessor):
            layer.set_processor(layer.default_processor())


class _ConfigWithAdapters(FrozenDict):
    """The configuration of a UNet with IP-Adapters: an attribute says so, and the items stay those to save."""

    encoder_hid_dim_type = "ip_image_proj"


def _set_sublayer(network: nn.Layer, name: str, layer: nn.Layer | None) -> None:
    network._sub_layers.pop(name, None)  # no trace of it is left, so that compiled programs are valid again
    setattr(network, name, layer)


def has_ip_adapters(unet: nn.Layer | None) -> bool:
    """Return whether a network has IP-Adapters."""
    return isinstance(getattr(unet, "encoder_hid_proj", None), MultiIPAdapterImageProjection)


def set_ip_adapter_scales(unet: nn.Layer, scales: Sequence[Scale | Mapping[str, float]]) -> None:
    """Set the scale of each IP-Adapter. A compiled UNet stays valid.

    Args:
        scales: for each adapter a number, a list with one for each of its images, or numbers by path of a
            transformer, such as "down_blocks.1.attentions.0"; layers elsewhere keep their scale.

    Raises:
        InputError: the UNet has another number of adapters.
    """
    processors = {
        name: processor
        for name, layer in _attention(unet)
        if isinstance(processor := layer.get_processor(), IPAdapterAttnProcessor)
    }
    counts = sorted({len(processor.scale) for processor in processors.values()})
    if counts and counts != [len(scales)]:
        raise InputError(
            f"There are {len(scales)} scales for {counts[0]} IP-Adapters.", expected="a list with one for each"
        )
    for name, processor in processors.items():
        processor.scale = [_scale_in(name, given, old) for given, old in zip(scales, processor.scale)]


def _scale_in(name: str, given: Scale | Mapping[str, float], old: Scale) -> Scale:
    if not isinstance(given, Mapping):
        return [float(s) for s in given] if isinstance(given, (list, tuple)) else float(given)
    return next((scale for path, scale in given.items() if name.startswith(f"{path}.")), old)


# -- layers of the UNet -----------------------------------------------------------------------------------------------


def _attention(unet: nn.Layer) -> list[tuple[str, Attention]]:
    """Return the attention layers by name, in the order of files: the middle block comes last."""
    sides = [(name, getattr(unet, name, None)) for name in ("down_blocks", "up_blocks", "mid_block")]
    return [
        (f"{side}.{name}", layer)
        for side, blocks in sides
        if blocks is not None
        for name, layer in blocks.named_sublayers()
        if isinstance(layer, Attention)
    ]


def _cross_attention(unet: nn.Layer) -> dict[int, Attention]:
    """Return the number in files -> cross-attention layer.

    Raises:
        InputError: the UNet has none that IP-Adapters support.
    """
    layers = [layer for name, layer in _attention(unet) if name.endswith(".attn2")]
    if not layers or any(layer.added_kv_proj_dim is not None for layer in layers):
        raise InputError(
            f"{type(unet).__name__} cannot have IP-Adapters.",
            expected="a UNet with cross-attention to a prompt in transformers",
        )
    return {2 * n + 1: layer for n, layer in enumerate(layers)}  # self-attention has the even numbers
