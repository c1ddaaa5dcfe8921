"""Tiny pipelines as folders and as the single files that the original repositories would have.

The widths are tiny, the depths are those of the published models, because diffusers recognises the layers by them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors.torch import save_file

from tests.support import originals
from tests.support.checkpoints import scheduler_named, tiny_tokenizer
from tests.support.originals import Tensors, wrapped
from tests.support.parity import randomize
from tests.support.stable_diffusion_xl import tiny_scheduler

KINDS = {
    "sd1": diffusers.StableDiffusionPipeline,
    "sd1_inpaint": diffusers.StableDiffusionInpaintPipeline,
    "instruct_pix2pix": diffusers.StableDiffusionInstructPix2PixPipeline,
    "sd2": diffusers.StableDiffusionPipeline,
    "sd2_inpaint": diffusers.StableDiffusionInpaintPipeline,
    "upscaler": diffusers.StableDiffusionUpscalePipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
    "sdxl_inpaint": diffusers.StableDiffusionXLInpaintPipeline,
    "sdxl_refiner": diffusers.StableDiffusionXLImg2ImgPipeline,
}
_IN_CHANNELS = {"sd1_inpaint": 9, "sd2_inpaint": 9, "sdxl_inpaint": 9, "instruct_pix2pix": 8, "upscaler": 7}
_CLIP, _OPEN_CLIP, _POOLED = 24, 32, 20  # widths of the text encoders, and of the pooled prompt


def tiny_text_model(width: int, layers: int, act: str, vocab_size: int, seed: int, projected: bool = False) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=width + 8,
        projection_dim=_POOLED,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=act,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    cls = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return randomize(cls(config), seed)


def tiny_vae(kind: str) -> diffusers.AutoencoderKL:
    levels = 3 if kind == "upscaler" else 4
    scaling = 0.08333 if kind == "upscaler" else 0.13025 if "xl" in kind else 0.18215
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(4, 4, 8, 8)[-levels:],
        layers_per_block=2,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=scaling,
    )
    return randomize(vae, 1)


def tiny_unet(kind: str) -> diffusers.UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": _IN_CHANNELS.get(kind, 4),
        "block_out_channels": (8, 8, 16, 16),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": _CLIP,
    }
    if kind.startswith("sd2"):
        settings |= {"cross_attention_dim": _OPEN_CLIP, "attention_head_dim": (2, 2, 4, 4)}
        settings |= {"use_linear_projection": True}
    elif kind == "upscaler":
        settings |= {
            "block_out_channels": (8, 16, 16, 24),
            "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
            "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
            "only_cross_attention": (True, True, True, False),
            "num_class_embeds": 1000,
            "cross_attention_dim": _OPEN_CLIP,
            "use_linear_projection": True,
        }
    elif "xl" in kind:
        refiner = kind == "sdxl_refiner"
        settings |= {
            "block_out_channels": (8, 8, 16, 16) if refiner else (8, 8, 16),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": 2 if refiner else (1, 2, 3),
            "attention_head_dim": (2, 2, 4, 4) if refiner else (2, 2, 4),
            "cross_attention_dim": _OPEN_CLIP if refiner else _CLIP + _OPEN_CLIP,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": _POOLED + 8 * (5 if refiner else 6),
        }
        if not refiner:
            settings["down_block_types"] = settings["down_block_types"][:3]
            settings["up_block_types"] = settings["up_block_types"][1:]
    return randomize(diffusers.UNet2DConditionModel(**settings), 2)


def tiny_components(folder: Path, kind: str) -> dict[str, Any]:
    first = tiny_tokenizer(folder / "first", "<|endoftext|>" if kind.startswith("sd1") or "xl" in kind else "!")
    second = tiny_tokenizer(folder / "second", "!")
    size = len(first)
    components: dict[str, Any] = {"vae": tiny_vae(kind), "unet": tiny_unet(kind)}
    if "xl" in kind:
        refiner = kind == "sdxl_refiner"
        clip = tiny_text_model(_CLIP, 3, "quick_gelu", size, 3)
        components |= {"scheduler": tiny_scheduler(), "text_encoder": None if refiner else clip}
        components |= {"text_encoder_2": tiny_text_model(_OPEN_CLIP, 11, "gelu", size, 4, projected=True)}
        return {**components, "tokenizer": None if refiner else first, "tokenizer_2": second}
    is_open = kind.startswith(("sd2", "upscaler"))
    encoder = tiny_text_model(_OPEN_CLIP, 23, "gelu", size, 3) if is_open else None
    components["text_encoder"] = encoder or tiny_text_model(_CLIP, 3, "quick_gelu", size, 3)
    if kind == "upscaler":
        components["low_res_scheduler"] = diffusers.DDPMScheduler(beta_schedule="scaled_linear")
    else:
        components |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = scheduler_named("PNDMScheduler" if kind != "upscaler" else "DDIMScheduler", "sd2" if is_open else "sd1")
    return {**components, "tokenizer": first, "scheduler": scheduler}


def tiny_pipeline(tmp_path: Path, kind: str) -> Path:
    """Save a tiny pipeline of this kind in diffusers' format, and return its folder."""
    KINDS[kind](**tiny_components(tmp_path / "vocabulary", kind)).save_pretrained(tmp_path / kind)
    return tmp_path / kind


def original_tensors(folder: Path, kind: str) -> Tensors:
    """The tensors of a folder as the original repository names them, with what its training leaves in a file."""
    pipeline = KINDS[kind].from_pretrained(folder)
    found = {
        **wrapped("model.diffusion_model.", originals.guided_diffusion(pipeline.unet)),
        **wrapped("first_stage_model.", originals.autoencoder(pipeline.vae)),
    }
    if "xl" in kind:
        open_clip = originals.open_clip(pipeline.text_encoder_2)
        if kind == "sdxl_refiner":
            return found | wrapped("conditioner.embedders.0.model.", open_clip)
        clip = pipeline.text_encoder.state_dict()
        found |= wrapped("conditioner.embedders.0.transformer.", clip)
        return found | wrapped("conditioner.embedders.1.model.", open_clip)
    if kind.startswith("sd1") or kind == "instruct_pix2pix":
        return found | wrapped("cond_stage_model.transformer.", pipeline.text_encoder.state_dict())
    return found | wrapped("cond_stage_model.model.", _with_unused_layer(pipeline.text_encoder))


def _with_unused_layer(encoder: Any) -> Tensors:
    """OpenCLIP's encoder in Stable Diffusion 2 has one more layer and a projection, which nothing uses."""
    found = originals.open_clip(encoder, torch.ones(_OPEN_CLIP, _OPEN_CLIP))
    last = originals.under("transformer.resblocks.22.", found)
    return found | wrapped("transformer.resblocks.23.", last)


def averages_of(tensors: Tensors) -> Tensors:
    """Averaged weights of the UNet under the names of `LitEma`, which removes dots; each is half of the trained one."""
    prefix = "model.diffusion_model."
    trained = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return {f"model_ema.{name.removeprefix('model.').replace('.', '')}": part / 2 for name, part in trained.items()}


def left_by_training() -> Tensors:
    """Tensors in files of original repositories and training tools that no network has."""
    return {
        "betas": torch.linspace(0, 1, 10),
        "alphas_cumprod": torch.linspace(1, 0, 10),
        "model_ema.decay": torch.tensor(0.9999),
        "first_stage_model.loss.logvar": torch.zeros(()),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
    }


def write_single_file(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(contiguous, path, metadata or {"format": "pt"})
    else:
        torch.save({"state_dict": contiguous, "global_step": 7} if path.suffix == ".ckpt" else contiguous, path)
    return path
