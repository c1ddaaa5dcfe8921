"""What is run in both frameworks to compare a component: inputs made from its configuration, outputs by name.

Every function here works on a PyTorch module and on a Paddle layer alike: they have the same attributes, and `tensor`
turns a numpy array into the framework's own tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

BATCH = 2
LARGEST_SIDE = 32  # enough to go through every layer, small enough for a full-size network on a CPU
SENTENCES = ("a red circle on a white background", "一个红色的圆形，白色背景", "Émile's 3 cats & 🐱!", "")

Tensor = Callable[[np.ndarray], Any]
Outputs = dict[str, Any]


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _side(config: Mapping[str, Any], levels: int) -> int:
    """A side that every level can halve."""
    size = config["sample_size"] or LARGEST_SIDE
    size = min(size if isinstance(size, int) else min(size), LARGEST_SIDE)
    step = 2**levels
    return max(step, size // step * step)


def _class_labels(config: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray | None:
    kind = config.get("class_embed_type")
    if kind == "timestep":
        return rng.integers(0, 1000, BATCH)
    if kind == "identity":
        return _normal(rng, BATCH, 4 * config["block_out_channels"][0])
    if kind in ("projection", "simple_projection"):
        return _normal(rng, BATCH, config["projection_class_embeddings_input_dim"])
    if config.get("num_class_embeds"):
        return rng.integers(0, config["num_class_embeds"], BATCH)
    return None


def unet(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`UNet2DModel` and `UNet2DConditionModel`: one denoising call."""
    side = _side(config, len(config["block_out_channels"]))
    sample = _normal(rng, BATCH, config["in_channels"], side, side)  # [B, C, H, W]
    conditions = {}
    if "cross_attention_dim" in config:
        width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
        width = width if isinstance(width, int) else width[0]
        conditions["encoder_hidden_states"] = tensor(_normal(rng, BATCH, 7, width))  # [B, S, D]
    labels = _class_labels(config, rng)
    if labels is not None:
        conditions["class_labels"] = tensor(labels)
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        conditions["added_cond_kwargs"] = {
            "text_embeds": tensor(_normal(rng, BATCH, pooled)),
            "time_ids": tensor(rng.integers(0, 1024, (BATCH, 6)).astype(np.float32)),
        }
    return {"sample": model(tensor(sample), 321, **conditions).sample}


def unet_1d(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`UNet1DModel`: the velocity of a short sound."""
    length = 4 * 2 ** len(config["block_out_channels"])
    sample, times = _normal(rng, BATCH, config["in_channels"], length), np.array([0.2, 0.9], dtype=np.float32)
    return {"sample": model(tensor(sample), tensor(times)).sample}


def vae(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`AutoencoderKL`: the distribution of the latents of a picture, and the picture of some latents."""
    levels = len(config["block_out_channels"])
    side = 2 ** (levels + 1)
    picture = _normal(rng, BATCH, config["in_channels"], side, side)  # [B, C, H, W]
    latents = _normal(rng, BATCH, config["latent_channels"], 4, 4)
    encoded = model.encode(tensor(picture)).latent_dist
    return {"mean": encoded.mean, "logvar": encoded.logvar, "decoded": model.decode(tensor(latents)).sample}


def vq_model(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`VQModel`: latents of a picture, and the picture of latents that lie on entries of the codebook."""
    side = 2 ** (len(config["block_out_channels"]) + 1)
    picture = _normal(rng, BATCH, config["in_channels"], side, side)  # [B, C, H, W]
    codes = tensor(rng.integers(0, config["num_vq_embeddings"], BATCH * 16))
    width = config["vq_embed_dim"] or config["latent_channels"]
    latents = model.quantize.get_codebook_entry(codes, (BATCH, 4, 4, width))
    return {"latents": model.encode(tensor(picture)).latents, "decoded": model.decode(latents).sample}


def text_encoder(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """CLIP text models: hidden states and what is pooled from them."""
    length = config["max_position_embeddings"]
    ids = rng.integers(0, config["vocab_size"], (BATCH, length))  # [B, S]
    if config["eos_token_id"] < config["vocab_size"]:
        ids[:, -length // 3 :] = config["eos_token_id"]
    output = model(tensor(ids))
    found = {name: getattr(output, name, None) for name in ("last_hidden_state", "pooler_output", "text_embeds")}
    return {name: value for name, value in found.items() if value is not None}


def vision_encoder(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """CLIP vision models: hidden states and the image embedding."""
    output = model(tensor(_pixels(config, rng)))
    found = {name: getattr(output, name, None) for name in ("last_hidden_state", "pooler_output", "image_embeds")}
    return {name: value for name, value in found.items() if value is not None}


def safety_checker(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """The image embedding that is compared with the concepts, and the concepts themselves."""
    pooled = model.vision_model(tensor(_pixels(config["vision_config"], rng)))[1]  # [B, D]
    return {
        "image_embeds": model.visual_projection(pooled),
        "concept_embeds": model.concept_embeds,
        "special_care_embeds": model.special_care_embeds,
        "concept_embeds_weights": model.concept_embeds_weights,
        "special_care_embeds_weights": model.special_care_embeds_weights,
    }


def _pixels(config: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    return _normal(rng, BATCH, config["num_channels"], config["image_size"], config["image_size"])


def scheduler(made: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor, noise: Any) -> Outputs:
    """Timesteps, the scaling of the input, and one step; `noise` are the keyword arguments that fix its draws."""
    made.set_timesteps(10)
    sample, prediction = (tensor(_normal(rng, BATCH, 4, 8, 8)) for _ in range(2))
    scaled = made.scale_model_input(sample, made.timesteps[0])
    step = made.step(prediction, made.timesteps[0], sample, **noise)
    return {"timesteps": made.timesteps, "scaled": scaled, "prev_sample": step.prev_sample}


def tokenizer(made: Any) -> Outputs:
    """Token ids of a few sentences, padded as pipelines pad them."""
    ids = made(list(SENTENCES), padding="max_length", truncation=True, max_length=32).input_ids
    return {"input_ids": np.asarray(ids)}


def image_processor(made: Any, rng: np.random.Generator) -> Outputs:
    """Pixel values of a random picture."""
    picture = rng.integers(0, 256, (45, 61, 3)).astype(np.uint8)
    return {"pixel_values": made(picture, return_tensors="np").pixel_values}


MODELS: dict[str, Callable[..., Outputs]] = {
    "UNet1DModel": unet_1d,
    "UNet2DModel": unet,
    "UNet2DConditionModel": unet,
    "AutoencoderKL": vae,
    "VQModel": vq_model,
    "CLIPTextModel": text_encoder,
    "CLIPTextModelWithProjection": text_encoder,
    "CLIPVisionModel": vision_encoder,
    "CLIPVisionModelWithProjection": vision_encoder,
    "StableDiffusionSafetyChecker": safety_checker,
}
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
IMAGE_PROCESSORS = ("CLIPImageProcessor", "CLIPFeatureExtractor")
