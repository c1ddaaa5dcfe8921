"""Image prompts of IP-Adapters: checks, encoding, and embeddings for each condition of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.image_projections import ImageProjection
from ppdiffusers.models.adapters.ip_adapter import has_ip_adapters
from ppdiffusers.pipelines.stages.clip_images import clip_pixels

if TYPE_CHECKING:
    from ppdiffusers.image_processor import PipelineImageInput
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

# Encode images, with or without hidden states: (embeddings, unconditional embeddings), [N, E] or [N, S, E] each.
Encode = Callable[[Any, bool], tuple[paddle.Tensor, paddle.Tensor]]


def check_image_prompts(*, unet: nn.Layer, image_encoder: Any, image: Any, embeds: Any) -> list[str]:
    """Images or embeddings are given for each IP-Adapter of the UNet, and for none if it has none."""
    count = unet.encoder_hid_proj.num_ip_adapters if has_ip_adapters(unet) else 0
    if image is None and embeds is None:
        if count:
            return [
                "the UNet has IP-Adapters, but neither `ip_adapter_image` nor `ip_adapter_image_embeds` is given: pass "
                "one of them, or call `unload_ip_adapter`"
            ]
        return []
    if not count:
        return ["`ip_adapter_image` and `ip_adapter_image_embeds`: no IP-Adapter is loaded, call `load_ip_adapter`"]
    if image is not None and embeds is not None:
        return ["`ip_adapter_image` and `ip_adapter_image_embeds` are both given: pass one of them"]
    if embeds is not None:
        return _check_embeds(embeds, count)
    problems = []
    images = image if isinstance(image, list) else [image]
    if len(images) != count:
        problems.append(f"`ip_adapter_image` has {len(images)} entries for {count} IP-Adapters")
    if image_encoder is None:
        problems.append(
            "`ip_adapter_image` requires an image encoder, which the pipeline does not have: load the IP-Adapter with "
            "`image_encoder_folder`, load the pipeline with `image_encoder=`, or pass `ip_adapter_image_embeds`"
        )
    return problems


def _check_embeds(embeds: Any, count: int) -> list[str]:
    if not isinstance(embeds, list):
        return [f"`ip_adapter_image_embeds` must be a list of tensors, not {type(embeds).__name__}"]
    problems = []
    if len(embeds) != count:
        problems.append(f"`ip_adapter_image_embeds` has {len(embeds)} entries for {count} IP-Adapters")
    for n, tensor in enumerate(embeds):
        if not isinstance(tensor, paddle.Tensor):
            problems.append(f"`ip_adapter_image_embeds[{n}]` must be a Paddle tensor, not {type(tensor).__name__}")
        elif tensor.ndim not in (3, 4):
            shape = list(tensor.shape)
            problems.append(f"`ip_adapter_image_embeds[{n}]` must have 3 or 4 axes, not the shape {shape}")
    return problems


def encode_image(
    image_encoder: CLIPVisionModelWithProjection,
    feature_extractor: CLIPImageProcessor,
    image: PipelineImageInput,
    num_images_per_prompt: int = 1,
    output_hidden_states: bool | None = None,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Encode images: (embeddings, unconditional embeddings), [N * num_images_per_prompt, ...] each.

    Args:
        image: an image or a list; a tensor is preprocessed already.
        output_hidden_states: return the last hidden states but one [..., S, E] instead of pooled embeddings [..., E];
            the unconditional ones are then those of a zero image, otherwise zeros.
    """
    pixels = clip_pixels(image, feature_extractor, image_encoder)  # [N, 3, h, w]
    if output_hidden_states:
        both = [
            image_encoder(x, output_hidden_states=True, return_dict=True).hidden_states[-2]
            for x in (pixels, paddle.zeros_like(pixels))
        ]
    else:
        embeds = image_encoder(pixels, return_dict=True).image_embeds
        both = [embeds, paddle.zeros_like(embeds)]
    positive, negative = (x.repeat_interleave(num_images_per_prompt, axis=0) for x in both)
    return positive, negative


def prepare_image_embeds(
    unet: nn.Layer, encode: Encode, image: Any, embeds: Any, batch_size: int, conditions: Sequence[bool]
) -> list[paddle.Tensor]:
    """Prepare the image embeddings of a call, for each IP-Adapter [C * batch_size, N, ...].

    Args:
        image: an image, or a list with an image or a list of N images for each adapter.
        embeds: used instead of images: for each adapter [C, N, ...] with one part for each condition.
        conditions: for each of the C conditions of a step, whether it sees the image; (False, True) for guidance.

    Raises:
        InputError: the number of images is not that of the adapters, or embeddings lack conditions.
    """
    projections = unet.encoder_hid_proj.image_projection_layers
    if embeds is None:
        images = image if isinstance(image, list) else [image]
        if len(images) != len(projections):
            raise InputError(f"`ip_adapter_image` has {len(images)} entries for {len(projections)} IP-Adapters.")
        parts = [
            _encoded(encode(one, not isinstance(layer, ImageProjection)), conditions)
            for one, layer in zip(images, projections)
        ]
    else:
        problems = [
            f"`ip_adapter_image_embeds[{n}]` has {tensor.shape[0]} entries for {len(conditions)} conditions"
            for n, tensor in enumerate(embeds)
            if tensor.shape[0] % len(conditions)
        ]
        if problems:
            raise InputError(
                "The image embeddings lack conditions.",
                problems=problems,
                expected="with guidance, unconditional embeddings before the conditional ones",
            )
        parts = [tensor.chunk(len(conditions)) for tensor in embeds]
    return [paddle.concat([part for part in some for _ in range(batch_size)]) for some in parts]


def _encoded(both: tuple[paddle.Tensor, paddle.Tensor], conditions: Sequence[bool]) -> list[paddle.Tensor]:
    positive, negative = (x.unsqueeze(0) for x in both)  # [1, N, ...]
    return [positive if seen else negative for seen in conditions]
