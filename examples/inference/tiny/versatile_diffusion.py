"""Versatile Diffusion 的小模型：图像 UNet 与文本 UNet 的注意力层结构相同，可以互换。"""

from pathlib import Path

from ppdiffusers import DDIMScheduler, VersatileDiffusionPipeline
from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from ppdiffusers.transformers import CLIPTextModelWithProjection
from tiny import parts
from tiny.stable_diffusion import NOISE_SCHEDULE


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    vocabulary = parts.tokenizer()
    image_unet = parts.unet()
    # 层数和宽度与图像 UNet 相同，各模块处理向量
    same = ("layers_per_block", "block_out_channels", "norm_num_groups", "cross_attention_dim", "attention_head_dim")
    text_unet = UNetFlatConditionModel(
        in_channels=[parts.WIDTH, 1, 1],
        out_channels=[parts.WIDTH, 1, 1],
        down_block_types=["CrossAttnDownBlockFlat", "DownBlockFlat"],
        up_block_types=["UpBlockFlat", "CrossAttnUpBlockFlat"],
        **{key: image_unet.config[key] for key in same},
    )
    VersatileDiffusionPipeline(
        tokenizer=vocabulary,
        image_feature_extractor=parts.feature_extractor(),
        text_encoder=CLIPTextModelWithProjection(parts.text_config(vocabulary)),
        image_encoder=parts.image_encoder(),
        image_unet=image_unet,
        text_unet=text_unet,
        vae=parts.vae(),
        scheduler=DDIMScheduler(**NOISE_SCHEDULE),
    ).save_pretrained(folder)
    return folder
