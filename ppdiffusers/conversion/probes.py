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
    if config.get("dual_cross_attention"):
        return _layers_of_dual_unet(model, config, rng, tensor)
    side = _side(config, len(config["block_out_channels"]))
    sample = _normal(rng, BATCH, config["in_channels"], side, side)  # [B, C, H, W]
    conditions = {}
    if "cross_attention_dim" in config:
        conditions["encoder_hidden_states"] = tensor(_tokens(config, rng))
    labels = _class_labels(config, rng)
    if labels is not None:
        conditions["class_labels"] = tensor(labels)
    if config.get("time_cond_proj_dim"):
        conditions["timestep_cond"] = tensor(_normal(rng, BATCH, config["time_cond_proj_dim"]))
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        conditions["added_cond_kwargs"] = {
            "text_embeds": tensor(_normal(rng, BATCH, pooled)),
            "time_ids": tensor(rng.integers(0, 1024, (BATCH, 6)).astype(np.float32)),
        }
    # Fourier features turn fast: float32 holds those of small times only, such as logarithms of noise levels
    fourier = config.get("time_embedding_type") == "fourier"
    times = tensor(np.full(BATCH, 0.3, dtype=np.float32)) if fourier else 321
    return {"sample": model(tensor(sample), times, **conditions).sample}


def _layers_of_dual_unet(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """Layer by layer: diffusers' own call of a UNet with two conditions raises a TypeError."""

    def features(channels: int) -> Any:
        return tensor(_normal(rng, BATCH, int(channels), 4, 4))

    first = config["block_out_channels"][0]
    times = tensor(_normal(rng, BATCH, config.get("time_embedding_dim") or 4 * first))
    context = tensor(_tokens({**config, "encoder_hid_dim": None}, rng, 77 + 7))  # [B, S1 + S2, D]
    blocks = {
        f"{kind}.{n}": block for kind in ("down_blocks", "up_blocks") for n, block in enumerate(getattr(model, kind))
    }
    outputs = {
        "conv_in": model.conv_in(features(config["in_channels"])),
        "time_embedding": model.time_embedding(tensor(_normal(rng, BATCH, first))),
        "conv_norm_out": model.conv_norm_out(features(first)),
        "conv_out": model.conv_out(features(first)),
    }
    if model.mid_block is not None:
        blocks["mid_block"] = model.mid_block
    for name, block in blocks.items():
        for n, resnet in enumerate(block.resnets):
            outputs[f"{name}.resnets.{n}"] = resnet(features(resnet.conv1.weight.shape[1]), times)
        for n, attention in enumerate(getattr(block, "attentions", ())):
            given = features(attention.transformers[0].config["in_channels"])
            outputs[f"{name}.attentions.{n}"] = attention(given, context, return_dict=False)[0]
        samplers = (getattr(block, "downsamplers", None), getattr(block, "upsamplers", None))
        for sampler in (sampler for some in samplers for sampler in some or ()):
            outputs[f"{name}.sampler"] = sampler(features(sampler.conv.weight.shape[1]))
    return outputs


def flat_unet(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`UNetFlatConditionModel`: one denoising call, over vectors."""
    shape = config["in_channels"]
    shape = [shape, 4, 1] if isinstance(shape, int) else shape
    sample, text = _normal(rng, BATCH, *shape), tensor(_tokens(config, rng))
    return {"sample": model(tensor(sample), 321, encoder_hidden_states=text).sample}


def _tokens(config: Mapping[str, Any], rng: np.random.Generator, count: int = 7) -> np.ndarray:
    """What a UNet attends to, [B, count, D]."""
    width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
    return _normal(rng, BATCH, count, width if isinstance(width, int) else width[0])


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


def masked_text_encoder(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """XLM-RoBERTa, with AltDiffusion's transformation or without: two texts, one of them padded."""
    ids = rng.integers(config["eos_token_id"] + 1, config["vocab_size"], (BATCH, 9))  # [B, S]
    ids[1, 6:] = config["pad_token_id"]
    output = model(tensor(ids), attention_mask=tensor((ids != config["pad_token_id"]).astype(np.int64)))
    found = {name: getattr(output, name, None) for name in ("projection_state", "last_hidden_state", "pooler_output")}
    return {name: value for name, value in found.items() if value is not None}


def bert(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`LDMBertModel`: hidden states of tokens."""
    ids = rng.integers(0, config["vocab_size"], (BATCH, config["max_position_embeddings"]))  # [B, S]
    return {"last_hidden_state": model(tensor(ids)).last_hidden_state}


def learned_embeddings(model: Any, config: Mapping[str, Any], rng: Any, tensor: Tensor) -> Outputs:
    """`LearnedClassifierFreeSamplingEmbeddings`: the embeddings, where there are any."""
    return {"embeddings": model.embeddings} if config["learnable"] else {"embeddings": np.ones(1)}


def transformer(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`Transformer2DModel`: one call over a feature map, or over a grid of codes."""
    if config["num_vector_embeds"] is None:
        side = 8
        given = _normal(rng, BATCH, config["in_channels"], side, side)  # [B, C, H, W]
    else:
        given = rng.integers(0, config["num_vector_embeds"], (BATCH, config["sample_size"] ** 2))  # [B, N]
    conditions = {}
    if config["cross_attention_dim"] is not None:
        conditions["encoder_hidden_states"] = tensor(_normal(rng, BATCH, 7, config["cross_attention_dim"]))
    if config["num_embeds_ada_norm"] is not None:
        conditions["timestep"] = tensor(np.asarray(config["num_embeds_ada_norm"] // 3))
    return {"sample": model(tensor(given), **conditions).sample}


def vision_encoder(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """CLIP vision models: hidden states and the image embedding."""
    output = model(tensor(_pixels(config, rng)))
    found = {name: getattr(output, name, None) for name in ("last_hidden_state", "pooler_output", "image_embeds")}
    return {name: value for name, value in found.items() if value is not None}


def depth_estimator(model: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor) -> Outputs:
    """`DPTForDepthEstimation`: the last hidden states and the depth."""
    pixels = tensor(_pixels(config, rng))
    output = model(pixels, output_hidden_states=True)
    # random weights may give the last ReLU nothing but zeros: the depth alone would show little
    return {"hidden_states": output.hidden_states[-1], "predicted_depth": output.predicted_depth}


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
    learned = str(config.get("variance_type")).startswith("learned")  # such networks predict the variance too
    sample, prediction = (tensor(_normal(rng, BATCH, channels, 8, 8)) for channels in (4, 8 if learned else 4))
    scaled = made.scale_model_input(sample, made.timesteps[0])
    step = made.step(prediction, made.timesteps[0], sample, **noise)
    return {"timesteps": made.timesteps, "scaled": scaled, "prev_sample": step.prev_sample}


def score_sde_ve(made: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor, noise: Any) -> Outputs:
    """Noise levels, and one step of the predictor and of the corrector."""
    made.set_timesteps(10)
    made.set_sigmas(10)
    sample, score = (tensor(_normal(rng, BATCH, 3, 8, 8)) for _ in range(2))
    predicted = made.step_pred(score, made.timesteps[3], sample, **noise).prev_sample
    corrected = made.step_correct(score, sample, **noise).prev_sample
    return {"timesteps": made.timesteps, "sigmas": made.sigmas, "predicted": predicted, "corrected": corrected}


def score_sde_vp(made: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor, noise: Any) -> Outputs:
    """Times, and one step."""
    made.set_timesteps(10)
    sample, score = (tensor(_normal(rng, BATCH, 3, 8, 8)) for _ in range(2))
    times = tensor(np.full(BATCH, 0.7, dtype=np.float32))
    sample, mean = made.step_pred(score, sample, times, **noise)
    return {"timesteps": made.timesteps, "sample": sample, "mean": mean}


def karras_ve(made: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor, noise: Any) -> Outputs:
    """Noise levels, the noise added before a step, and one step with its correction."""
    made.set_timesteps(10)
    sample, output, later = (tensor(_normal(rng, BATCH, 3, 8, 8)) for _ in range(3))
    high, low = made.schedule[6], made.schedule[5]
    noisier, higher = made.add_noise_to_input(sample, high, **noise)
    step = made.step(output, higher, low, noisier)
    corrected = made.step_correct(later, higher, low, noisier, step.prev_sample, step.derivative)
    return {"schedule": made.schedule, "stepped": step.prev_sample, "corrected": corrected.prev_sample}


def vq_diffusion(made: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor, noise: Any) -> Outputs:
    """Timesteps, and log p(x_{t-1}) of the codes of a grid, the mask among them."""
    made.set_timesteps(10)
    codes = config["num_vec_classes"] - 1
    scores = _normal(rng, BATCH, codes, 9)
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))  # [B, codes, N]
    grid = rng.integers(0, codes + 1, (BATCH, 9))
    posterior = made.q_posterior(tensor(log_p), tensor(grid), made.timesteps[0])
    return {"timesteps": made.timesteps, "log_p": posterior}


def repaint(made: Any, config: Mapping[str, Any], rng: np.random.Generator, tensor: Tensor, noise: Any) -> Outputs:
    """Timesteps with their jumps, one step and one jump back."""
    made.set_timesteps(10, 2, 2)
    sample, prediction, picture = (tensor(_normal(rng, BATCH, 3, 8, 8)) for _ in range(3))
    mask = tensor(rng.integers(0, 2, (BATCH, 1, 8, 8)).astype(np.float32))
    step = made.step(prediction, made.timesteps[0], sample, picture, mask, **noise)
    undone = made.undo_step(step.prev_sample, made.timesteps[1], **noise)
    return {"timesteps": made.timesteps, "prev_sample": step.prev_sample, "undone": undone}


def tokenizer(made: Any) -> Outputs:
    """Token ids of a few sentences, padded as pipelines pad them."""
    ids = made(list(SENTENCES), padding="max_length", truncation=True, max_length=32).input_ids
    return {"input_ids": np.asarray(ids)}


def image_processor(made: Any, rng: np.random.Generator) -> Outputs:
    """Pixel values of a random picture."""
    picture = rng.integers(0, 256, (45, 61, 3)).astype(np.uint8)
    return {"pixel_values": made(picture, return_tensors="np").pixel_values}


MODELS: dict[str, Callable[..., Outputs]] = {
    "Transformer2DModel": transformer,
    "LDMBertModel": bert,
    "LearnedClassifierFreeSamplingEmbeddings": learned_embeddings,
    "UNet1DModel": unet_1d,
    "UNet2DModel": unet,
    "UNet2DConditionModel": unet,
    "UNetFlatConditionModel": flat_unet,
    "AutoencoderKL": vae,
    "VQModel": vq_model,
    "CLIPTextModel": text_encoder,
    "CLIPTextModelWithProjection": text_encoder,
    "CLIPVisionModel": vision_encoder,
    "CLIPVisionModelWithProjection": vision_encoder,
    "StableDiffusionSafetyChecker": safety_checker,
    "SafeStableDiffusionSafetyChecker": safety_checker,
    "DPTForDepthEstimation": depth_estimator,
    "XLMRobertaModel": masked_text_encoder,
    "RobertaSeriesModelWithTransformation": masked_text_encoder,
}
TOKENIZERS = (
    *("BertTokenizer", "BertTokenizerFast", "CLIPTokenizer", "CLIPTokenizerFast"),
    *("XLMRobertaTokenizer", "XLMRobertaTokenizerFast"),
)
IMAGE_PROCESSORS = ("CLIPImageProcessor", "CLIPFeatureExtractor", "DPTImageProcessor", "DPTFeatureExtractor")
# Schedulers that are not called like the others.
SCHEDULERS: dict[str, Callable[..., Outputs]] = {
    "VQDiffusionScheduler": vq_diffusion,
    "ScoreSdeVeScheduler": score_sde_ve,
    "ScoreSdeVpScheduler": score_sde_vp,
    "KarrasVeScheduler": karras_ve,
    "RePaintScheduler": repaint,
}
