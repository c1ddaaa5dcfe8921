"""潜变量 2 倍超分的小模型：k-diffusion 结构的 UNet，池化的文本嵌入加到时间步嵌入上，忽略多出的一个输出通道。"""

from pathlib import Path

from ppdiffusers import EulerDiscreteScheduler, StableDiffusionLatentUpscalePipeline
from tiny import parts

UNET = {
    "in_channels": 8,
    "out_channels": 5,
    "act_fn": "gelu",
    "attention_head_dim": 16,
    "block_out_channels": [32, 64, 64],
    "down_block_types": ["KDownBlock2D", "KCrossAttnDownBlock2D", "KCrossAttnDownBlock2D"],
    "mid_block_type": None,
    "up_block_types": ["KCrossAttnUpBlock2D", "KCrossAttnUpBlock2D", "KUpBlock2D"],
    "layers_per_block": 2,
    "norm_num_groups": None,
    "conv_in_kernel": 1,
    "conv_out_kernel": 1,
    "flip_sin_to_cos": False,
    "time_embedding_type": "fourier",
    "time_cond_proj_dim": 128 + parts.WIDTH,
    "timestep_post_act": "gelu",
}


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    vocabulary = parts.tokenizer()
    StableDiffusionLatentUpscalePipeline(
        vae=parts.vae(),
        text_encoder=parts.text_encoder(vocabulary),
        tokenizer=vocabulary,
        unet=parts.unet(**UNET),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="sample"
        ),
    ).save_pretrained(folder)
    return folder
