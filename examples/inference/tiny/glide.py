"""GLIDE 的小模型：基础模型（16 x 16）和超分辨率模型（64 x 64），各有一个文本编码器。

图像修复模型的输入还包括已知像素和掩码。
"""

import tempfile
from pathlib import Path

from ppdiffusers import (
    DDIMScheduler,
    DDPMScheduler,
    GlideInpaintPipeline,
    GlidePipeline,
    GlideTextModel,
    GlideTokenizer,
    UNet2DConditionModel,
)
from tiny import parts

TOKENS = 16  # 提示词的最大 token 数


def _unet(sample_size: int, in_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=6,  # 噪声与方差
        layers_per_block=1,
        block_out_channels=[16, 32],
        down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
        norm_num_groups=8,
        cross_attention_dim=parts.WIDTH,
        attention_head_dim=8,
        class_embed_type="identity",  # 文本的汇总向量加到时间步嵌入上
        resnet_time_scale_shift="scale_shift",
    )


def _text_encoder(vocabulary: GlideTokenizer) -> GlideTextModel:
    return GlideTextModel(
        vocab_size=len(vocabulary),
        text_ctx=TOKENS,
        width=parts.WIDTH,
        num_layers=2,
        num_attention_heads=4,
        time_embed_dim=64,
    )


def _tokenizer() -> GlideTokenizer:
    """没有合并规则的字节级词表：每个字节是一个 token。"""
    with tempfile.TemporaryDirectory() as folder:
        merges = Path(folder) / "merges.txt"
        merges.write_text("#version: 0.2\n", encoding="utf-8")
        return GlideTokenizer(merges, model_max_length=TOKENS)


def _components(known_channels: int) -> dict:
    """两种管道的组件；`known_channels` 为已知像素和掩码的通道数。"""
    parts.seed()
    vocabulary = _tokenizer()
    return {
        "unet": _unet(parts.IMAGE_SIZE // 4, 3 + known_channels),
        "text_encoder": _text_encoder(vocabulary),
        "upsampler": _unet(parts.IMAGE_SIZE, 6 + known_channels),
        "upsampler_text_encoder": _text_encoder(vocabulary),
        "tokenizer": vocabulary,
        "scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"),
        "upsampler_scheduler": DDIMScheduler(),
    }


def make(folder: Path) -> Path:
    """将文生图小模型保存到 `folder` 并返回该目录。"""
    GlidePipeline(**_components(0)).save_pretrained(folder)
    return folder


def make_inpaint(folder: Path) -> Path:
    """将图像修复小模型保存到 `folder` 并返回该目录。"""
    GlideInpaintPipeline(**_components(4)).save_pretrained(folder)
    return folder
