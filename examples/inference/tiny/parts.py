"""各小模型共用的组件：分词器、CLIP 编码器、VAE。权重随机，生成的图像没有实际内容。"""

from pathlib import Path

import paddle

from ppdiffusers import AutoencoderKL, UNet2DConditionModel, VQModel
from ppdiffusers.transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

VOCABULARY = Path(__file__).parents[2] / "assets" / "shapes-bilingual" / "tokenizer"
WIDTH = 32  # 文本嵌入的维度，即 UNet 交叉注意力的维度
IMAGE_SIZE = 64  # 图像边长（像素）


def seed(value: int = 0) -> None:
    """固定随机权重。"""
    paddle.seed(value)


def tokenizer(**settings) -> CLIPTokenizer:
    """中英文小词表，最多 77 个 token。"""
    return CLIPTokenizer.from_pretrained(VOCABULARY, model_max_length=77, **settings)


def text_config(vocabulary: CLIPTokenizer, **settings) -> CLIPTextConfig:
    return CLIPTextConfig(
        **{
            "vocab_size": len(vocabulary),
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "projection_dim": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 77,
            "bos_token_id": vocabulary.bos_token_id,
            "eos_token_id": vocabulary.eos_token_id,
            **settings,
        }
    )


def text_encoder(vocabulary: CLIPTokenizer, **settings) -> CLIPTextModel:
    return CLIPTextModel(text_config(vocabulary, **settings))


def image_encoder(**settings) -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        **{
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "projection_dim": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
            **settings,
        }
    )
    return CLIPVisionModelWithProjection(config)


def feature_extractor(side: int = 32) -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def vae(**settings) -> AutoencoderKL:
    """与发布的 VAE 相同的四级结构，8 倍下采样。"""
    return AutoencoderKL(
        **{
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "block_out_channels": [8, 8, 16, 16],
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "sample_size": IMAGE_SIZE,
            **settings,
        }
    )


def vq_model(**settings) -> VQModel:
    """带码本的自编码器，三级结构，4 倍下采样。"""
    return VQModel(
        **{
            "down_block_types": ["DownEncoderBlock2D"] * 3,
            "up_block_types": ["UpDecoderBlock2D"] * 3,
            "block_out_channels": [8, 16, 16],
            "norm_num_groups": 4,
            "num_vq_embeddings": 64,
            "sample_size": IMAGE_SIZE,
            **settings,
        }
    )


def unet(**settings) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": IMAGE_SIZE // 8,
            "layers_per_block": 1,
            "block_out_channels": [16, 32],
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "norm_num_groups": 8,
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 4,
            **settings,
        }
    )
