"""Stable Diffusion XL 的小模型：基础模型，以及只有第二个文本编码器的 refiner。"""

from pathlib import Path

from ppdiffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from ppdiffusers.transformers import CLIPTextModelWithProjection
from tiny import parts

SIZE_WIDTH = 8  # 每个尺寸数值的嵌入维度


def components(refiner: bool = False, **unet_settings) -> dict:
    """创建全部组件；`refiner=True` 时没有第一个文本编码器；`unet_settings` 修改 UNet 的配置。"""
    parts.seed()
    vocabulary = parts.tokenizer()
    sizes = 5 if refiner else 6
    unet_settings = {
        "cross_attention_dim": parts.WIDTH * (1 if refiner else 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_WIDTH,
        "projection_class_embeddings_input_dim": parts.WIDTH + sizes * SIZE_WIDTH,
        **unet_settings,
    }
    return {
        "vae": parts.vae(scaling_factor=0.13025),
        "text_encoder": None if refiner else parts.text_encoder(vocabulary),
        "text_encoder_2": CLIPTextModelWithProjection(parts.text_config(vocabulary, hidden_act="gelu")),
        "tokenizer": None if refiner else vocabulary,
        "tokenizer_2": vocabulary,
        "unet": parts.unet(**unet_settings),
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    }


def make(folder: Path, pipeline_class: type[DiffusionPipeline] = StableDiffusionXLPipeline, **settings) -> Path:
    """将小模型保存到 `folder` 并返回该目录；`settings` 是 `components` 的参数。"""
    pipeline_class(**components(**settings)).save_pretrained(folder)
    return folder


def make_base_and_refiner(folder: Path) -> tuple[Path, Path]:
    """将基础模型和 refiner 保存到 `folder` 的子目录并返回两个目录。"""
    base = make(folder / "base")
    pipeline = StableDiffusionXLImg2ImgPipeline(**components(refiner=True), requires_aesthetics_score=True)
    pipeline.save_pretrained(folder / "refiner")
    return base, folder / "refiner"


def make_base_and_controlnet(folder: Path) -> tuple[Path, Path]:
    """将基础模型和 ControlNet 保存到 `folder` 的子目录并返回两个目录；控制图与 VAE 相同，8 倍下采样。"""
    base = components()
    controlnet = ControlNetModel.from_unet(base["unet"], conditioning_embedding_out_channels=(4, 8, 8, 16))
    controlnet.save_pretrained(folder / "controlnet")
    StableDiffusionXLPipeline(**base).save_pretrained(folder / "base")
    return folder / "base", folder / "controlnet"


def make_base_and_controlnet_union(folder: Path) -> tuple[Path, Path]:
    """将基础模型和支持 6 种控制类型的 ControlNet 保存到 `folder` 的子目录并返回两个目录。"""
    base = components()
    shared = {key: value for key, value in base["unet"].config.items() if key in ControlNetUnionModel.init_parameters()}
    width = shared["block_out_channels"][0]  # Transformer 层的宽度与 UNet 第一级相同
    controlnet = ControlNetUnionModel(
        **shared,
        conditioning_embedding_out_channels=(4, 8, 8, 16),
        num_trans_channel=width,
        num_trans_head=4,
        num_proj_channel=width,
    )
    controlnet.save_pretrained(folder / "controlnet")
    StableDiffusionXLPipeline(**base).save_pretrained(folder / "base")
    return folder / "base", folder / "controlnet"
