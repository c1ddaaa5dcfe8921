"""Tiny PyTorch pipelines with random weights, saved by diffusers, for conversion and parity tests.

Every checkpoint is written by `DiffusionPipeline.save_pretrained` of the pinned diffusers; none is stored in the
repository. Sizes expose mistakes: square projections (a wrong transpose does not change the shape), non-square ones,
several heads, random norms and biases.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from tests.support.parity import randomize

CAPTIONS = (
    "a red circle on a white background",
    "a small blue square on a black background",
    "a photograph of an astronaut riding a horse",
    "an oil painting of two cats, highly detailed",
    "一个红色的圆形，白色背景",
    "一个小的蓝色正方形，黑色背景",
    "一只骑着马的宇航员的照片",
)
VARIANTS = ("sd1", "sd2")


# -- tokenizer ------------------------------------------------------------------------------------------------


@functools.lru_cache
def byte_alphabet() -> dict[int, str]:
    """The printable character of each byte in a byte-level BPE vocabulary, in the order of CLIP."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _as_symbols(word: str) -> tuple[str, ...]:
    symbols = [byte_alphabet()[byte] for byte in word.encode("utf-8")]
    return (*symbols[:-1], symbols[-1] + "</w>")


@functools.lru_cache
def learn_merges(count: int = 120) -> tuple[tuple[str, str], ...]:
    """Byte-pair merges of `CAPTIONS`: the most frequent pair first, ties in alphabetical order."""
    words = [_as_symbols(word) for caption in CAPTIONS for word in caption.replace(",", " ,").split()]
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs = collections.Counter(pair for word in words for pair in itertools.pairwise(word))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = [_merge(word, best) for word in words]
    return tuple(merges)


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged, at = [], 0
    while at < len(word):
        hit = word[at : at + 2] == pair
        merged.append(pair[0] + pair[1] if hit else word[at])
        at += 2 if hit else 1
    return tuple(merged)


def tiny_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> transformers.CLIPTokenizer:
    """A CLIP tokenizer: 256 bytes, 256 bytes that end a word, learned merges, two special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = list(byte_alphabet().values())
    merges = learn_merges()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges_file = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({token: n for n, token in enumerate(tokens)}, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    merges_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return transformers.CLIPTokenizer(
        str(vocabulary), str(merges_file), model_max_length=77, pad_token=pad_token, clean_up_tokenization_spaces=True
    )


# -- components -----------------------------------------------------------------------------------------------


def tiny_text_encoder(
    vocab_size: int, variant: str = "sd1", hidden_size: int = 32, seed: int = 0
) -> transformers.CLIPTextModel:
    """Three CLIP text layers; `eos_token_id=2`, as in legacy SD checkpoints, pools at the largest token id."""
    config = transformers.CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=48,
        projection_dim=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="gelu" if variant == "sd2" else "quick_gelu",
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return randomize(transformers.CLIPTextModel(config), seed)


def tiny_unet(variant: str = "sd1", seed: int = 0) -> diffusers.UNet2DConditionModel:
    """Two levels; cross attention with a square key projection at the first level (32 x 32)."""
    later = {"use_linear_projection": True, "attention_head_dim": [2, 4]} if variant == "sd2" else {}
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=32,
        **{"attention_head_dim": 4, **later},
    )
    return randomize(unet, seed)


def tiny_vae(seed: int = 0) -> diffusers.AutoencoderKL:
    """Two levels, which halve height and width; four latent channels."""
    vae = diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    )
    return randomize(vae, seed)


def tiny_safety_checker(flags: str = "nothing", seed: int = 0) -> StableDiffusionSafetyChecker:
    """A safety checker that flags "nothing", "everything", or by random thresholds ("random")."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 24,
    }
    config = transformers.CLIPConfig(
        vision_config=vision,
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48},
        projection_dim=24,
    )
    checker = randomize(StableDiffusionSafetyChecker(config), seed)
    threshold = {"nothing": 2.0, "everything": -2.0}.get(flags)  # cosines are in [-1, 1]
    if threshold is not None:
        torch.nn.init.constant_(checker.concept_embeds_weights, threshold)
        torch.nn.init.constant_(checker.special_care_embeds_weights, threshold)
    return checker


def tiny_feature_extractor() -> transformers.CLIPImageProcessor:
    return transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def scheduler_named(name: str, variant: str = "sd1") -> diffusers.SchedulerMixin:
    """A scheduler with the settings of SD checkpoints (SD 2: v-prediction)."""
    published = diffusers.PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if variant == "sd2" else "epsilon",
    )
    return published if name == "PNDMScheduler" else getattr(diffusers, name).from_config(published.config)


# -- pipelines ------------------------------------------------------------------------------------------------


def tiny_stable_diffusion(
    tmp_path: Path,
    *,
    variant: str = "sd1",
    safety_checker: bool | str = True,
    scheduler: str = "PNDMScheduler",
    dtype: torch.dtype | str = torch.float32,
    safe_serialization: bool = True,
    file_variant: str | None = None,
    max_shard_size: str | None = None,
    seed: int = 0,
) -> Path:
    """Save a tiny Stable Diffusion checkpoint under `tmp_path` and return it.

    Args:
        variant: "sd1" (convolution projections, quick_gelu, epsilon) or "sd2" (linear projections, a list of
            heads, gelu, v-prediction, "!" as padding).
        safety_checker: False for none; "everything" or "random" for one that flags images.
        file_variant: as `save_pretrained(variant=...)`, such as "fp16" in the file names.
        max_shard_size: as `save_pretrained(max_shard_size=...)`; small values give sharded weights.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is one of {VARIANTS}, not {variant!r}")
    folder = Path(tmp_path) / f"tiny-{variant}"
    tokenizer = tiny_tokenizer(Path(tmp_path) / "vocabulary", "!" if variant == "sd2" else "<|endoftext|>")
    checker = None
    if safety_checker:
        checker = tiny_safety_checker("nothing" if safety_checker is True else safety_checker, seed + 3)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=tiny_vae(seed),
        text_encoder=tiny_text_encoder(len(tokenizer), variant, seed=seed + 1),
        tokenizer=tokenizer,
        unet=tiny_unet(variant, seed + 2),
        scheduler=scheduler_named(scheduler, variant),
        safety_checker=checker,
        feature_extractor=tiny_feature_extractor() if checker is not None else None,
        requires_safety_checker=checker is not None,
    )
    _save(pipeline, folder, dtype, safe_serialization, file_variant, max_shard_size)
    return folder


def tiny_stable_diffusion_as(
    tmp_path: Path, pipeline_class: type, *, in_channels: int = 4, seed: int = 0, **settings: Any
) -> Path:
    """Save a checkpoint for another class of diffusers, with a UNet of `in_channels`, and return its folder.

    Args:
        settings: those of `tiny_stable_diffusion`.
    """
    folder = tiny_stable_diffusion(tmp_path, seed=seed, **settings)
    config = {k: v for k, v in tiny_unet(settings.get("variant", "sd1")).config.items() if not k.startswith("_")}
    unet = randomize(diffusers.UNet2DConditionModel(**{**config, "in_channels": in_channels}), seed + 2)
    pipeline = pipeline_class.from_pretrained(folder, unet=unet)
    target = Path(tmp_path) / pipeline_class.__name__
    pipeline.save_pretrained(target)
    return target


def tiny_controlnet(seed: int = 10, **changes: Any) -> diffusers.ControlNetModel:
    """A ControlNet for `tiny_unet("sd1")`, with random weights in its zero convolutions too."""
    settings = {
        "in_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "norm_num_groups": 8,
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "conditioning_embedding_out_channels": (4, 6),  # halves height and width, as `tiny_vae` does
    }
    network = randomize(diffusers.ControlNetModel(**{**settings, **changes}), seed)
    with torch.no_grad():  # so that other control images give clearly other residuals
        network.controlnet_cond_embedding.conv_out.weight.mul_(30)
    return network


def tiny_controlnet_pipeline(
    tmp_path: Path, pipeline_class: type, *, controlnets: int = 1, in_channels: int = 4, **settings: Any
) -> Path:
    """Save a checkpoint for a ControlNet pipeline of diffusers, with a list of ControlNets if there are several.

    Args:
        settings: those of `tiny_controlnet`.
    """
    source = tiny_stable_diffusion_as(
        tmp_path, diffusers.StableDiffusionPipeline, in_channels=in_channels, safety_checker=False
    )
    networks = [tiny_controlnet(10 + n, **settings) for n in range(controlnets)]
    pipeline = pipeline_class.from_pretrained(source, controlnet=networks[0] if controlnets == 1 else networks)
    target = Path(tmp_path) / f"{pipeline_class.__name__}-{controlnets}"
    pipeline.save_pretrained(target)
    return target


def tiny_ddpm(
    tmp_path: Path,
    *,
    dtype: torch.dtype | str = torch.float32,
    safe_serialization: bool = True,
    seed: int = 0,
) -> Path:
    """Save a tiny DDPM checkpoint (UNet2DModel with attention, DDPMScheduler) under `tmp_path` and return it."""
    unet = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    pipeline = diffusers.DDPMPipeline(unet=randomize(unet, seed), scheduler=diffusers.DDPMScheduler())
    folder = Path(tmp_path) / "tiny-ddpm"
    _save(pipeline, folder, dtype, safe_serialization)
    return folder


def _save(
    pipeline: diffusers.DiffusionPipeline,
    folder: Path,
    dtype: torch.dtype | str,
    safe_serialization: bool,
    file_variant: str | None = None,
    max_shard_size: str | None = None,
) -> None:
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    pipeline.to(dtype=dtype)
    shutil.rmtree(folder, ignore_errors=True)  # a second call in the same test must not keep files of the first
    shards = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
    pipeline.save_pretrained(folder, safe_serialization=safe_serialization, variant=file_variant, **shards)
