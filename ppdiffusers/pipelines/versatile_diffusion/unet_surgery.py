"""Which condition the UNet over pictures attends to: its transformers are changed for those of the UNet over texts.

Both UNets of Versatile Diffusion have transformers of the same plan (Xu et al., arXiv 2211.08332, section 3.3). Nothing
is copied, and the UNets that come in stay as they are: the UNet that goes out has its own frame and shares all layers.
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
# What has to be the same for two transformers to change places.
_PLAN = ("num_attention_heads", "attention_head_dim", "in_channels", "num_layers", "cross_attention_dim")


def attend_to_texts(image_unet: nn.Layer, text_unet: UNetFlatConditionModel | None) -> UNet2DConditionModel:
    """The UNet over pictures with the transformers of the UNet over texts.

    Args:
        text_unet: None if `image_unet` has its transformers already.

    Raises:
        InputError: the two UNets are of different plans.
    """
    if text_unet is None and not image_unet.config.dual_cross_attention:
        return image_unet
    return _rebuild(image_unet, text_unet, False, lambda images, texts: texts)


def attend_to_pictures(image_unet: nn.Layer, text_unet: UNetFlatConditionModel | None) -> UNet2DConditionModel:
    """The UNet over pictures with its own transformers alone, whatever `text_unet` is."""
    if not image_unet.config.dual_cross_attention:
        return image_unet
    return _rebuild(image_unet, None, False, lambda images, texts: images)


def attend_to_both(image_unet: nn.Layer, text_unet: UNetFlatConditionModel | None) -> UNet2DConditionModel:
    """The UNet over pictures with pairs of transformers, one of each UNet.

    Args:
        text_unet: None if `image_unet` has pairs already.

    Raises:
        InputError: the two UNets are of different plans, or there is none over texts.
    """
    if image_unet.config.dual_cross_attention:
        return image_unet
    if text_unet is None:
        raise InputError(
            "The UNet attends to one condition only, and there is no text UNet to take the other's transformers from.",
            remedy="pass `text_unet`, or an `image_unet` whose configuration says `dual_cross_attention`.",
        )
    return _rebuild(image_unet, text_unet, True, lambda *pair: DualTransformer2DModel(pair))


def _rebuild(
    image_unet: nn.Layer, text_unet: nn.Layer | None, dual: bool, choose: Callable[[nn.Layer, nn.Layer], nn.Layer]
) -> UNet2DConditionModel:
    """A UNet that shares every layer of `image_unet` but its transformers.

    Args:
        dual: whether the new transformers are pairs.
        choose: makes a new one of those for pictures and for texts.
    """
    image_blocks = _blocks(image_unet)
    text_blocks = [None] * len(image_blocks) if text_unet is None else _blocks(text_unet)
    _check_plans(image_blocks, text_blocks)
    with paddle.LazyGuard():  # a frame without weights
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
    """The transformers for pictures and for texts at one place."""
    if isinstance(attention, DualTransformer2DModel):
        images, own = attention.transformers
        return images, own if text is None else text
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


def _check_plans(image_blocks: list[nn.Layer], text_blocks: list[nn.Layer | None]) -> None:
    if None in text_blocks:
        return
    plans = [[[_plan(attention) for attention in _attentions(block)] for block in blocks]
             for blocks in (image_blocks, text_blocks)]  # fmt: skip
    problems = [
        f"block {n}: {images} over pictures, {texts} over texts"
        for n, (images, texts) in enumerate(zip(*plans))
        if images != texts
    ]
    if len(image_blocks) != len(text_blocks):
        problems.append(f"{len(image_blocks)} blocks over pictures, {len(text_blocks)} over texts")
    if problems:
        raise InputError(
            "The two UNets cannot change transformers: they are of different plans.",
            problems=problems,
            expected="the image UNet and the text UNet of one Versatile Diffusion",
        )


def _plan(attention: nn.Layer) -> dict[str, Any]:
    part = attention.transformers[0] if isinstance(attention, DualTransformer2DModel) else attention
    return {key: part.config[key] for key in _PLAN} if isinstance(part, Transformer2DModel) else {}
