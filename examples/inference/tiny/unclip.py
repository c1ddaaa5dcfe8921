"""unCLIP 的小模型：先验网络、解码器（16 x 16）和超分辨率网络（64 x 64），文生图与图像变体共用后两者。"""

from pathlib import Path

from ppdiffusers import (
    PriorTransformer,
    UnCLIPImageVariationPipeline,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from ppdiffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel
from ppdiffusers.transformers import CLIPTextModelWithProjection
from tiny import parts


def _upscaler() -> UNet2DModel:
    return UNet2DModel(
        sample_size=parts.IMAGE_SIZE,
        in_channels=6,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=[16, 16],
        down_block_types=["ResnetDownsampleBlock2D"] * 2,
        up_block_types=["ResnetUpsampleBlock2D"] * 2,
        norm_num_groups=8,
        add_attention=False,
        resnet_time_scale_shift="scale_shift",
    )


def _shared() -> dict:
    """两种管道共用的组件。"""
    vocabulary = parts.tokenizer()
    decoder = UNet2DConditionModel(
        sample_size=parts.IMAGE_SIZE // 4,
        in_channels=3,
        out_channels=6,  # 噪声与方差
        layers_per_block=1,
        block_out_channels=[16, 32],
        down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
        norm_num_groups=8,
        cross_attention_dim=parts.WIDTH,
        attention_head_dim=8,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
    )
    return {
        "decoder": decoder,
        "text_encoder": CLIPTextModelWithProjection(parts.text_config(vocabulary)),
        "tokenizer": vocabulary,
        "text_proj": UnCLIPTextProjModel(
            clip_embeddings_dim=parts.WIDTH, time_embed_dim=64, cross_attention_dim=parts.WIDTH
        ),
        "super_res_first": _upscaler(),
        "super_res_last": _upscaler(),
        "decoder_scheduler": UnCLIPScheduler(variance_type="learned_range"),
        "super_res_scheduler": UnCLIPScheduler(),
    }


def make(folder: Path) -> Path:
    """将文生图小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    prior = PriorTransformer(num_attention_heads=2, attention_head_dim=16, num_layers=2, embedding_dim=parts.WIDTH)
    prior_scheduler = UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0)
    UnCLIPPipeline(prior=prior, prior_scheduler=prior_scheduler, **_shared()).save_pretrained(folder)
    return folder


def make_variation(folder: Path) -> Path:
    """将图像变体小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    UnCLIPImageVariationPipeline(
        feature_extractor=parts.feature_extractor(), image_encoder=parts.image_encoder(), **_shared()
    ).save_pretrained(folder)
    return folder
