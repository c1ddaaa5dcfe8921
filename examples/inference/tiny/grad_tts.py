"""Grad-TTS 的小模型：两位说话人，80 个梅尔频带，每帧 256 个采样点，采样率 22050 Hz，附 HiFi-GAN 声码器。"""

from pathlib import Path

import paddle

from ppdiffusers import GradTTSPipeline, GradTTSScheduler, GradTTSTextEncoder, HiFiGANModel, UNetGradTTSModel
from tiny import parts

FRAMES = 3.0  # 每个符号的平均帧数


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    text_encoder = GradTTSTextEncoder(
        hidden_channels=32, filter_channels=64, duration_channels=32, num_heads=2, num_layers=2
    )
    # 随机权重预测的时长没有意义：使其接近常数
    text_encoder.duration_predictor.proj.bias.set_value(paddle.to_tensor([FRAMES]).log())
    GradTTSPipeline(
        text_encoder=text_encoder,
        unet=UNetGradTTSModel(dim=24, n_spks=2, spk_emb_dim=16),
        scheduler=GradTTSScheduler(beta_max=2.0),  # 随机权重在更大的噪声下会溢出
        vocoder=HiFiGANModel(
            upsample_initial_channel=32,
            resblock_kernel_sizes=(3, 7),
            resblock_dilation_sizes=((1, 3, 5), (1, 3, 5)),
        ),
    ).save_pretrained(folder)
    return folder
