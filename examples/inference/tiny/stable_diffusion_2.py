"""Stable Diffusion 2.x 的小模型：v 预测，OpenCLIP 文本编码器（gelu，以 "!" 填充），线性投影，各级注意力头数不同。"""

from pathlib import Path

from ppdiffusers import DDIMScheduler, StableDiffusionPipeline
from tiny import parts
from tiny.stable_diffusion import NOISE_SCHEDULE

UNET = {"use_linear_projection": True, "attention_head_dim": [2, 4]}


def text_components() -> dict:
    """创建分词器和文本编码器。"""
    vocabulary = parts.tokenizer(pad_token="!")
    return {"tokenizer": vocabulary, "text_encoder": parts.text_encoder(vocabulary, hidden_act="gelu")}


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(**NOISE_SCHEDULE, prediction_type="v_prediction")


def make(folder: Path, **unet_settings) -> Path:
    """将小模型保存到 `folder` 并返回该目录；`unet_settings` 修改 UNet 的配置，例如图像修复的 `in_channels=9`。"""
    parts.seed()
    StableDiffusionPipeline(
        vae=parts.vae(),
        unet=parts.unet(**{**UNET, **unet_settings}),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **text_components(),
    ).save_pretrained(folder)
    return folder
