"""示例脚本的声音：写成 WAV 文件，画成频谱图；只用标准库、numpy 和 Pillow。"""

import wave
from pathlib import Path

import numpy as np
from PIL import Image

WINDOW = 512  # 一次傅里叶变换的采样数
HOP = 128  # 相邻两次之间的采样数
SIZE = (1024, 514)  # 频谱图的宽和高（像素）
FLOOR = -80  # 频谱图里最暗的分贝数，最亮为 0

# 频谱图的颜色，由静到响：黑、紫、橙、白
COLOURS = np.array([[0, 0, 0], [90, 20, 120], [240, 120, 30], [255, 255, 240]], dtype=np.float64)


def write_wav(path: Path, audio: np.ndarray, sample_rate: int) -> Path:
    """把 [-1, 1] 里的声音 [声道, 采样] 写成 16 位 WAV，返回路径。"""
    samples = (np.clip(audio, -1, 1) * 32767).round().astype("<i2")  # [C, L]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.T.tobytes())  # 各声道逐采样交错
    return path


def loudness(audio: np.ndarray) -> np.ndarray:
    """各时刻、各频率有多响：[声道, 采样] -> 分贝 [频率, 时刻]，最响处为 0；各声道先取平均。"""
    mono = audio.mean(axis=0)
    frames = max(1, -(-(len(mono) - WINDOW) // HOP) + 1)
    mono = np.pad(mono, (0, max(0, (frames - 1) * HOP + WINDOW - len(mono))))  # 末尾不足一窗的补静音
    starts = np.arange(frames)[:, None] * HOP + np.arange(WINDOW)  # [时刻, 窗]
    power = np.abs(np.fft.rfft(mono[starts] * np.hanning(WINDOW), axis=1)) ** 2
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-20), 1e-20)).T


def spectrogram(audio: np.ndarray) -> Image.Image:
    """声音 [声道, 采样] 的频谱图：横轴是时间，纵轴是频率（低频在下），越亮越响。"""
    shade = 1 - np.clip(loudness(audio), FLOOR, 0) / FLOOR  # [频率, 时刻]，0 到 1
    stops = np.linspace(0, 1, len(COLOURS))
    pixels = np.stack([np.interp(shade, stops, channel) for channel in COLOURS.T], axis=-1)
    return Image.fromarray(pixels[::-1].round().astype(np.uint8)).resize(SIZE, Image.Resampling.NEAREST)
