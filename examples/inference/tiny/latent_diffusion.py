"""Latent Diffusion 的小模型：文生图（文本编码器为 LDMBert）和 4 倍超分。"""

import string
from pathlib import Path

from ppdiffusers import DDIMScheduler, LDMSuperResolutionPipeline, LDMTextToImagePipeline, UNet2DModel
from ppdiffusers.pipelines.latent_diffusion.ldmbert import LDMBertConfig, LDMBertModel
from ppdiffusers.transformers import BertTokenizer
from tiny import parts


def make(folder: Path) -> Path:
    """将文生图的小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    vocabulary = tokenizer(folder)
    config = LDMBertConfig(
        vocab_size=len(vocabulary),
        d_model=parts.WIDTH,
        encoder_layers=2,
        encoder_ffn_dim=64,
        encoder_attention_heads=4,
        head_dim=8,
    )
    LDMTextToImagePipeline(
        vqvae=parts.vae(), bert=LDMBertModel(config), tokenizer=vocabulary, unet=parts.unet(), scheduler=scheduler()
    ).save_pretrained(folder)
    return folder


def make_super_resolution(folder: Path) -> Path:
    """将 4 倍超分的小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    unet = UNet2DModel(
        sample_size=32,
        in_channels=6,  # 潜变量和低分辨率图像，各 3 个通道
        out_channels=3,
        layers_per_block=1,
        block_out_channels=[16, 32],
        down_block_types=["DownBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "UpBlock2D"],
        norm_num_groups=8,
    )
    LDMSuperResolutionPipeline(vqvae=parts.vq_model(), unet=unet, scheduler=scheduler()).save_pretrained(folder)
    return folder


def tokenizer(folder: Path) -> BertTokenizer:
    """英文 WordPiece 小词表：字母、词内字母和标点。"""
    letters = string.ascii_lowercase + string.digits
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *letters]
    tokens += [f"##{letter}" for letter in letters]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vocab.txt"
    file.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return BertTokenizer(file, model_max_length=77)


def scheduler() -> DDIMScheduler:
    """发布的 Latent Diffusion 模型的噪声调度。"""
    return DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
