"""The image UNet of Versatile Diffusion with transformers for images, for prompts, or for both.

Image UNet and text UNet have transformers of the same architecture (Xu et al., arXiv 2211.08332, section 3.3). The
functions return a new UNet that shares all layers with those that are passed; these are not changed, and no weights are
copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel
from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

_BLOCKS = ("down_blocks", "mid_block", "up_blocks")
# Settings in which two transformers must agree to be exchangeable.
_ARCHITECTURE = ("num_attention_heads", "attention_head_dim", "in_channels", "num_layers", "cross_attention_dim")


def text_conditioned_unet(
    image_unet: UNet2DConditionModel, text_unet: UNetFlatConditionModel | None
) -> UNet2DConditionModel:
    """The image UNet with the transformers of the text UNet.

    Args:
        text_unet: None if `image_unet` has its transformers already.

    Raises:
        InputError: the two UNets have different architectures.
    """
    if text_unet is None and not image_unet.config.dual_cross_attention:
        return image_unet
    return _rebuild(image_unet, text_unet, False, lambda image, text: text)


def image_conditioned_unet(
    image_unet: UNet2DConditionModel, text_unet: UNetFlatConditionModel | None
) -> UNet2DConditionModel:
    """The image UNet with its own transformers only; `text_unet` has no effect."""
    if not image_unet.config.dual_cross_attention:
        return image_unet
    return _rebuild(image_unet, None, False, lambda image, text: image)


def dual_conditioned_unet(
    image_unet: UNet2DConditionModel, text_unet: UNetFlatConditionModel | None
) -> UNet2DConditionModel:
    """The image UNet with pairs of transformers, one of each UNet.

    Args:
        text_unet: None if `image_unet` has pairs already.

    Raises:
        InputError: the two UNets have different architectures, or the text UNet is missing.
    """
    if image_unet.config.dual_cross_attention:
        return image_unet
    if text_unet is None:
        raise InputError(
            "The image UNet attends to one condition only, and the text UNet with the other transformers is missing.",
            remedy="pass `text_unet`, or an `image_unet` with `dual_cross_attention` in its configuration.",
        )
    return _rebuild(image_unet, text_unet, True, lambda *pair: DualTransformer2DModel(pair))


def _rebuild(
    image_unet: nn.Layer, text_unet: nn.Layer | None, dual: bool, choose: Callable[[nn.Layer, nn.Layer], nn.Layer]
) -> UNet2DConditionModel:
    """Build a UNet that shares every layer of `image_unet` except its transformers.

    Args:
        dual: whether the new transformers are pairs.
        choose: returns the new transformer for those of the image UNet and of the text UNet.
    """
    image_blocks = _blocks(image_unet)
    text_blocks = [None] * len(image_blocks) if text_unet is None else _blocks(text_unet)
    _check_architectures(image_blocks, text_blocks)
    with paddle.LazyGuard():  # without weights
        made = UNet2DConditionModel.from_config(image_unet.config, dual_cross_attention=dual)
    _share(image_unet, made, _BLOCKS)
    for image_block, text_block, block in zip(image_blocks, text_blocks, _blocks(made)):
        _share(image_block, block, ("attentions",))
        for n, attention in enumerate(_attentions(image_block)):
            chosen = attention
            if isinstance(attention, (Transformer2DModel, DualTransformer2DModel)):
                chosen = choose(*_pair(attention, None if text_block is None else text_block.attentions[n]))
            block.attentions[n] = chosen
    made.train() if image_unet.training else made.eval()
    return made


def _pair(attention: nn.Layer, text: Transformer2DModel | None) -> tuple[nn.Layer, nn.Layer | None]:
    """The transformers for images and for prompts at one position."""
    if isinstance(attention, DualTransformer2DModel):
        image, own = attention.transformers
        return image, own if text is None else text
    return attention, text


def _blocks(unet: nn.Layer) -> list[nn.Layer]:
    middle = [] if unet.mid_block is None else [unet.mid_block]
    return [*unet.down_blocks, *middle, *unet.up_blocks]


def _attentions(block: nn.Layer) -> list[nn.Layer]:
    return list(getattr(block, "attentions", ()))


def _share(source: nn.Layer, target: nn.Layer, but: tuple[str, ...]) -> None:
    for name, layer in source.named_children():
        if name not in but:
            setattr(target, name, layer)


def _check_architectures(image_blocks: list[nn.Layer], text_blocks: list[nn.Layer | None]) -> None:
    if None in text_blocks:
        return
    settings = [[[_settings(attention) for attention in _attentions(block)] for block in blocks]
             for blocks in (image_blocks, text_blocks)]  # fmt: skip
    problems = [
        f"block {n}: {image} in the image UNet, {text} in the text UNet"
        for n, (image, text) in enumerate(zip(*settings))
        if image != text
    ]
    if len(image_blocks) != len(text_blocks):
        problems.append(f"{len(image_blocks)} blocks in the image UNet, {len(text_blocks)} in the text UNet")
    if problems:
        raise InputError(
            "The transformers of the two UNets have different architectures and cannot be exchanged.",
            problems=problems,
            expected="the image UNet and the text UNet of one Versatile Diffusion",
        )


def _settings(attention: nn.Layer) -> dict[str, Any]:
    part = attention.transformers[0] if isinstance(attention, DualTransformer2DModel) else attention
    return {key: part.config[key] for key in _ARCHITECTURE} if isinstance(part, Transformer2DModel) else {}
