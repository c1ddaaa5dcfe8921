"""无条件音频生成：Dance Diffusion，生成钢琴音频，保存 WAV 文件和频谱图。

python examples/inference/unconditional_audio_generation-dance_diffusion.py --seconds 6.5
python examples/inference/unconditional_audio_generation-dance_diffusion.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import audio_utils

from ppdiffusers import DanceDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="harmonai/maestro-150k", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--seconds", type=float, help="音频时长（秒）；默认 4.0，试跑时 0.5")
    parser.add_argument("--batch_size", type=int, default=1, help="每次生成的音频数量")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 100，试跑时 5")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import dance_diffusion

        args.model = dance_diffusion.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = DanceDiffusionPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成音频：直接对波形去噪，不使用频谱和声码器
    audios = pipe(
        batch_size=args.batch_size,
        num_inference_steps=args.num_inference_steps or (5 if args.tiny else 100),
        audio_length_in_s=args.seconds or (0.5 if args.tiny else 4.0),
        generator=args.seed,
    ).audios  # [B, C, L]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, audio in enumerate(audios):
        wav, spectrogram = args.output_dir / f"audio_{n}.wav", args.output_dir / f"spectrogram_{n}.png"
        audio_utils.write_wav(wav, audio, pipe.unet.config.sample_rate)
        audio_utils.spectrogram(audio).save(spectrogram)
        print(f"音频已保存到 {wav.resolve()}，频谱图已保存到 {spectrogram.resolve()}")


if __name__ == "__main__":
    main()
