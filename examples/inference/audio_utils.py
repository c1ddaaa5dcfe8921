"""示例脚本的音频输出：WAV 文件和频谱图，只依赖标准库、numpy 和 Pillow。"""

import wave
from pathlib import Path

import numpy as np
from PIL import Image

WINDOW = 512  # 傅里叶变换的窗长（采样点）
HOP = 128  # 帧移（采样点）
SIZE = (1024, 514)  # 频谱图的宽和高（像素）
FLOOR = -80  # 频谱图显示的最低分贝，最高为 0

# 频谱图的配色，响度由低到高：黑、紫、橙、白
COLOURS = np.array([[0, 0, 0], [90, 20, 120], [240, 120, 30], [255, 255, 240]], dtype=np.float64)


def write_wav(path: Path, audio: np.ndarray, sample_rate: int) -> Path:
    """将取值范围 [-1, 1] 的音频 [C, L] 保存为 16 位 WAV 文件，返回路径。"""
    samples = (np.clip(audio, -1, 1) * 32767).round().astype("<i2")  # [C, L]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.T.tobytes())  # 各声道按采样点交错
    return path


def loudness(audio: np.ndarray) -> np.ndarray:
    """计算响度：音频 [C, L] -> 分贝 [频率, 帧]，最大值为 0；多声道取平均。"""
    mono = audio.mean(axis=0)
    frames = max(1, -(-(len(mono) - WINDOW) // HOP) + 1)
    mono = np.pad(mono, (0, max(0, (frames - 1) * HOP + WINDOW - len(mono))))  # 末尾不足一个窗长时补零
    starts = np.arange(frames)[:, None] * HOP + np.arange(WINDOW)  # [帧, 窗长]
    power = np.abs(np.fft.rfft(mono[starts] * np.hanning(WINDOW), axis=1)) ** 2
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-20), 1e-20)).T


def spectrogram(audio: np.ndarray) -> Image.Image:
    """绘制音频 [C, L] 的频谱图：横轴为时间，纵轴为频率（低频在下），亮度表示响度。"""
    shade = 1 - np.clip(loudness(audio), FLOOR, 0) / FLOOR  # [频率, 帧]，取值 0 到 1
    stops = np.linspace(0, 1, len(COLOURS))
    pixels = np.stack([np.interp(shade, stops, channel) for channel in COLOURS.T], axis=-1)
    return Image.fromarray(pixels[::-1].round().astype(np.uint8)).resize(SIZE, Image.Resampling.NEAREST)


def example_mel(bins: int, frames: int = 40) -> np.ndarray:
    """一段音高上升的示例频谱 [频带, 帧]。"""
    position = np.arange(bins)[:, None] / bins
    pitch = np.linspace(0.2, 0.6, frames)[None, :]
    return (-5 + 5 * np.exp(-((position - pitch) ** 2) / 0.005)).astype(np.float32)
