"""DeepFloyd IF 的小模型：第一阶段生成 16 x 16 的小图，第二阶段放大到 64 x 64；两阶段共用 T5 文本编码器。"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import paddle

from ppdiffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel
from ppdiffusers.pipelines.deepfloyd_if import IFSafetyChecker, IFWatermarker
from ppdiffusers.transformers import CLIPConfig, T5Config, T5EncoderModel, T5Tokenizer
from ppdiffusers.transformers.sentencepiece_model import SPACE, PieceType, SentencePieceModel
from tiny import parts

CHARACTERS = SPACE + "abcdefghijklmnopqrstuvwxyz,."  # 每个字符一个 token，其余字符为 <unk>


def tokenizer() -> T5Tokenizer:
    """创建最小的 SentencePiece 模型，特殊 token 的编号与 T5 相同。"""
    score = -math.log(len(CHARACTERS))
    specials = [
        ("<pad>", 0.0, PieceType.CONTROL),
        ("</s>", 0.0, PieceType.CONTROL),
        ("<unk>", 0.0, PieceType.UNKNOWN),
    ]
    model = SentencePieceModel.from_pieces([*specials, *((one, score, PieceType.NORMAL) for one in CHARACTERS)])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "spiece.model"
        file.write_bytes(model.data)
        return T5Tokenizer(file, model_max_length=77, extra_ids=0)


def _text_encoder(vocabulary: T5Tokenizer) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=parts.WIDTH,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def _unet(**settings) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": parts.IMAGE_SIZE // 4,
            "in_channels": 3,
            "out_channels": 6,  # 噪声与方差
            "act_fn": "gelu",
            "layers_per_block": 1,
            "block_out_channels": [16, 32],
            "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
            "norm_num_groups": 8,
            "cross_attention_dim": 96,
            "cross_attention_norm": "group_norm",
            "attention_head_dim": 8,
            "encoder_hid_dim": parts.WIDTH,
            "encoder_hid_dim_type": "text_proj",
            "addition_embed_type": "text",
            "addition_embed_type_num_heads": 4,
            "resnet_time_scale_shift": "scale_shift",
            **settings,
        }
    )


def _safety_checker() -> IFSafetyChecker:
    """随机权重会误判图像，因此将得分的偏置设为很小的值。"""
    vision = parts.image_encoder().config.to_dict()
    checker = IFSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=parts.WIDTH))
    for head in (checker.p_head, checker.w_head):
        head.bias.set_value(paddle.full([1], -100.0))
    return checker


def _shared() -> dict:
    """两个阶段共用的组件。"""
    parts.seed()
    vocabulary = tokenizer()
    return {
        "tokenizer": vocabulary,
        "text_encoder": _text_encoder(vocabulary),
        "scheduler": DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            variance_type="learned_range",
            thresholding=True,
            dynamic_thresholding_ratio=0.95,
            sample_max_value=1.5,
        ),
        "safety_checker": _safety_checker(),
        "feature_extractor": parts.feature_extractor(),
        "watermarker": IFWatermarker(),  # 全透明的水印
    }


def make(folder: Path) -> Path:
    """将第一阶段的小模型保存到 `folder` 并返回该目录。"""
    IFPipeline(**_shared(), unet=_unet()).save_pretrained(folder)
    return folder


def make_super_resolution(folder: Path) -> Path:
    """将第二阶段的小模型保存到 `folder` 并返回该目录。"""
    shared = _shared()
    unet = _unet(sample_size=parts.IMAGE_SIZE, in_channels=6, class_embed_type="timestep")
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    IFSuperResolutionPipeline(**shared, unet=unet, image_noising_scheduler=noising).save_pretrained(folder)
    return folder


def make_cascade(folder: Path) -> tuple[Path, Path]:
    """将两个阶段的小模型保存到 `folder` 的子目录 base 和 upscaler，返回这两个目录。"""
    return make(folder / "base"), make_super_resolution(folder / "upscaler")
