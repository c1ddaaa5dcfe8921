"""频谱转音频：FastDiff 声码器，由对数梅尔频谱生成波形，保存 WAV 文件和频谱图。

FastDiff 没有托管在模型社区的权重：先下载原仓库的检查点，再转换：
ppdiffusers convert --from fastdiff --pretrained_model_name_or_path model_ckpt_steps_500000.ckpt \
    --output_path ./fastdiff
python examples/inference/spectrogram_to_audio-fastdiff.py --model ./fastdiff --mel mel.npy
python examples/inference/spectrogram_to_audio-fastdiff.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import audio_utils
import numpy as np

from ppdiffusers import FastDiffPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Rongjiehuang/FastDiff", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--mel", type=Path, help="对数梅尔频谱：形状为 [频带, 帧] 的 .npy 文件；默认使用一段示例")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--num_inference_steps", type=int, default=4, help="推理步数：3、4、6、8、200 或 1000")
    parser.add_argument("--ddim", action="store_true", help="使用确定性的 DDIM 采样")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import fastdiff

        args.model = fastdiff.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = FastDiffPipeline.from_pretrained(args.model).to(device=args.device)

    # 对数梅尔频谱 [频带, 帧]：须与训练时的设置一致（频带数、帧移、采样率）
    if args.mel is None:
        mel = audio_utils.example_mel(pipe.vocoder.config.cond_channels)
    else:
        mel = np.load(args.mel)

    # 生成波形
    audio = pipe(
        mel,
        num_inference_steps=args.num_inference_steps,
        ddim=args.ddim,
        generator=args.seed,
    ).audios[0]  # [1, L]
    audio = audio / np.abs(audio).max()  # 与原仓库相同：写入文件前按最大值归一化

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    wav, spectrogram = args.output_dir / "audio.wav", args.output_dir / "spectrogram.png"
    audio_utils.write_wav(wav, audio, pipe.vocoder.config.sample_rate)
    audio_utils.spectrogram(audio).save(spectrogram)
    print(f"音频已保存到 {wav.resolve()}，频谱图已保存到 {spectrogram.resolve()}")


if __name__ == "__main__":
    main()
