"""Stable unCLIP 的小模型：以 CLIP 图像嵌入为条件的 Stable Diffusion 2，文生图与图像变体共用。"""

from pathlib import Path

from ppdiffusers import (
    DDIMScheduler,
    DDPMScheduler,
    PriorTransformer,
    StableUnCLIPImg2ImgPipeline,
    StableUnCLIPPipeline,
)
from ppdiffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from ppdiffusers.transformers import CLIPTextModelWithProjection
from tiny import parts
from tiny.stable_diffusion import NOISE_SCHEDULE


def _shared() -> dict:
    """两种管道共用的组件。"""
    vocabulary = parts.tokenizer()
    return {
        "image_normalizer": StableUnCLIPImageNormalizer(parts.WIDTH),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "tokenizer": vocabulary,
        "text_encoder": parts.text_encoder(vocabulary),
        # 图像嵌入与噪声强度的嵌入拼接后输入 UNet
        "unet": parts.unet(class_embed_type="projection", projection_class_embeddings_input_dim=2 * parts.WIDTH),
        "scheduler": DDIMScheduler(**NOISE_SCHEDULE),
        "vae": parts.vae(),
    }


def make(folder: Path) -> Path:
    """将文生图小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    vocabulary = parts.tokenizer()
    StableUnCLIPPipeline(
        prior_tokenizer=vocabulary,
        prior_text_encoder=CLIPTextModelWithProjection(parts.text_config(vocabulary)),
        prior=PriorTransformer(num_attention_heads=2, attention_head_dim=16, num_layers=2, embedding_dim=parts.WIDTH),
        prior_scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample_range=5.0
        ),
        **_shared(),
    ).save_pretrained(folder)
    return folder


def make_variation(folder: Path) -> Path:
    """将图像变体小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=parts.feature_extractor(), image_encoder=parts.image_encoder(), **_shared()
    ).save_pretrained(folder)
    return folder
