"""Tiny folders for the names of models in scripts: random weights, components and settings of the published ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import ppdiffusers
from ppdiffusers import DiffusionPipeline

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "inference"))

from tiny import (
    alt_diffusion,
    dance_diffusion,
    ddpm,
    deepfloyd_if,
    instruct_pix2pix,
    latent_consistency_model,
    latent_diffusion,
    latent_diffusion_uncond,
    parts,
    score_sde_ve,
    stable_diffusion,
    stable_diffusion_2,
    stable_diffusion_2_upscaler,
    stable_diffusion_controlnet,
    stable_diffusion_image_variation,
    stable_diffusion_xl,
    t2i_adapter,
    unclip,
    versatile_diffusion,
    vq_diffusion,
)

Maker = Callable[[Path], object]


def _controlnet(folder: Path) -> None:
    base, controlnet = stable_diffusion_controlnet.make_base_and_controlnet(folder.parent / ".controlnet")
    controlnet.rename(folder)


def _adapter(folder: Path) -> None:
    _, adapter = t2i_adapter.make_base_and_adapter(folder.parent / ".adapter")
    adapter.rename(folder)


def _xl_controlnet(folder: Path) -> None:
    _, controlnet = stable_diffusion_xl.make_base_and_controlnet(folder.parent / ".xl_controlnet")
    controlnet.rename(folder)


def _xl_inpainting(folder: Path) -> None:
    stable_diffusion_xl.make(folder, ppdiffusers.StableDiffusionXLInpaintPipeline, in_channels=9)


def _inpainting(folder: Path) -> None:
    stable_diffusion.make(folder, in_channels=9)


def _inpainting_2(folder: Path) -> None:
    stable_diffusion_2.make(folder, in_channels=9)


def _refiner(folder: Path) -> None:
    _, refiner = stable_diffusion_xl.make_base_and_refiner(folder.parent / ".refiner")
    refiner.rename(folder)


def _xl_vae(folder: Path) -> None:
    ppdiffusers.AutoencoderKL.from_pretrained(stable_diffusion_xl.make(folder.parent / ".xl") / "vae").save_pretrained(
        folder
    )


def _clip(folder: Path) -> None:
    """A CLIP model for CLIP-guided pipelines, with its image processor and tokenizer."""
    from ppdiffusers.transformers import CLIPConfig, CLIPModel

    parts.seed()
    tokenizer = parts.tokenizer()
    text, vision = parts.text_config(tokenizer).to_dict(), parts.image_encoder().config.to_dict()
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=parts.WIDTH)).save_pretrained(folder)
    parts.feature_extractor().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# Name of a model -> what makes it. Other names are of systems that ppdiffusers does not have.
MODELS: dict[str, Maker] = {
    "BAAI/AltDiffusion": alt_diffusion.make,
    "BAAI/AltDiffusion-m9": alt_diffusion.make,
    "CompVis/ldm-celebahq-256": latent_diffusion_uncond.make,
    "CompVis/ldm-super-resolution-4x-openimages": latent_diffusion.make_super_resolution,
    "CompVis/ldm-text2im-large-256": latent_diffusion.make,
    "CompVis/stable-diffusion-v1-4": stable_diffusion.make,
    "DeepFloyd/IF-I-XL-v1.0": deepfloyd_if.make,
    "DeepFloyd/IF-II-L-v1.0": deepfloyd_if.make_super_resolution,
    "SimianLuo/LCM_Dreamshaper_v7": latent_consistency_model.make,
    "TencentARC/t2iadapter_color_sd14v1": _adapter,
    "dboshardy/ddim-butterflies-128": ddpm.make,
    "google/ddpm-celebahq-256": ddpm.make,
    "google/ddpm-cifar10-32": ddpm.make,
    "google/ddpm-ema-celebahq-256": ddpm.make,
    "google/ncsnpp-celebahq-256": score_sde_ve.make,
    "google/ncsnpp-ffhq-1024": score_sde_ve.make,
    "harmonai/maestro-150k": dance_diffusion.make,
    "kakaobrain/karlo-v1-alpha": unclip.make,
    "kakaobrain/karlo-v1-alpha-image-variations": unclip.make_variation,
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": _clip,
    "hakurei/waifu-diffusion": stable_diffusion.make,
    "lambdalabs/sd-image-variations-diffusers": stable_diffusion_image_variation.make,
    "lllyasviel/control_v11p_sd15_inpaint": _controlnet,
    "lllyasviel/sd-controlnet-canny": _controlnet,
    "madebyollin/sdxl-vae-fp16-fix": _xl_vae,
    "microsoft/vq-diffusion-ithq": vq_diffusion.make,
    "runwayml/stable-diffusion-inpainting": _inpainting,
    "runwayml/stable-diffusion-v1-5": stable_diffusion.make,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": stable_diffusion.make,
    "stable-diffusion-v1-5/stable-diffusion-inpainting": _inpainting,
    "sd-legacy/stable-diffusion-v1-5": stable_diffusion.make,
    "TASUKU2023/Chilloutmix": stable_diffusion.make,
    "openai/clip-vit-large-patch14": _clip,
    "diffusers/controlnet-canny-sdxl-1.0": _xl_controlnet,
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": _xl_inpainting,
    "shi-labs/versatile-diffusion": versatile_diffusion.make,
    "stabilityai/stable-diffusion-2": stable_diffusion_2.make,
    "stabilityai/stable-diffusion-2-1": stable_diffusion_2.make,
    "stabilityai/stable-diffusion-2-base": stable_diffusion_2.make,
    "stabilityai/stable-diffusion-2-inpainting": _inpainting_2,
    "stabilityai/stable-diffusion-x4-upscaler": stable_diffusion_2_upscaler.make,
    "stabilityai/stable-diffusion-xl-base-1.0": stable_diffusion_xl.make,
    "stabilityai/stable-diffusion-xl-refiner-1.0": _refiner,
    "timbrooks/instruct-pix2pix": instruct_pix2pix.make,
}


def make(name: str, folder: Path) -> Path:
    """Write the model `name` to `folder`/name, with weights of the variant "fp16" next to the others."""
    target = folder / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        MODELS[name](target)
        if (target / "model_index.json").is_file():
            DiffusionPipeline.from_pretrained(target).to("float16").save_pretrained(target, variant="fp16")
    return target
