"""Stable Diffusion 2 深度引导模型的小模型：UNet 的输入增加一个深度通道（4 + 1），深度由 DPT 估计。"""

from pathlib import Path

from ppdiffusers import StableDiffusionDepth2ImgPipeline
from ppdiffusers.transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor
from tiny import parts
from tiny.stable_diffusion_2 import UNET, scheduler, text_components

IMAGE_SIZE = 96  # DPT 输入图像的边长


def depth_estimator() -> DPTForDepthEstimation:
    """混合结构：三级 BiT 主干，后接 ViT。"""
    config = DPTConfig(
        is_hybrid=True,
        backbone_config={
            "global_padding": "SAME",
            "layer_type": "bottleneck",
            "depths": [1, 1, 1],
            "hidden_sizes": [16, 24, 32],
            "out_features": ["stage1", "stage2", "stage3"],
            "embedding_dynamic_padding": True,
            "embedding_size": 8,
            "num_groups": 8,
        },
        backbone_featmap_shape=[1, 32, IMAGE_SIZE // 16, IMAGE_SIZE // 16],
        image_size=IMAGE_SIZE,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 24, 32, 32],
        reassemble_factors=[1, 1, 1, 0.5],
        fusion_hidden_size=16,
    )
    estimator = DPTForDepthEstimation(config)
    last = estimator.head.head[4]  # 输入和输出都经过 ReLU：权重取非负，避免随机权重输出全零深度
    last.weight.set_value(last.weight.abs())
    return estimator


def image_processor() -> DPTImageProcessor:
    return DPTImageProcessor(size=IMAGE_SIZE, resample=2)


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    StableDiffusionDepth2ImgPipeline(
        vae=parts.vae(),
        unet=parts.unet(**UNET, in_channels=5),
        scheduler=scheduler(),
        depth_estimator=depth_estimator(),
        feature_extractor=image_processor(),
        **text_components(),
    ).save_pretrained(folder)
    return folder
