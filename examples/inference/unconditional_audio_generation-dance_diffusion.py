"""无条件生成声音：Dance Diffusion，从噪声里听出一段钢琴；写成 WAV，并画出频谱图。

python examples/inference/unconditional_audio_generation-dance_diffusion.py --seconds 6.5
python examples/inference/unconditional_audio_generation-dance_diffusion.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import sounds

from ppdiffusers import DanceDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="harmonai/maestro-150k", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--seconds", type=float, help="多长，任意秒数皆可；默认 4.0，试跑时 0.5")
    parser.add_argument("--batch_size", type=int, default=1, help="一次作几段")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 100，试跑时 5")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import dance_diffusion

        args.model = dance_diffusion.make(args.output_dir / "tiny")

    # 加载：目录里是 PyTorch 权重还是 Paddle 权重，不必说明
    pipe = DanceDiffusionPipeline.from_pretrained(args.model).to(device=args.device)

    # 作曲：波形本身就是要去噪的东西，没有声谱，也没有声码器
    audios = pipe(
        batch_size=args.batch_size,
        num_inference_steps=args.num_inference_steps or (5 if args.tiny else 100),
        audio_length_in_s=args.seconds or (0.5 if args.tiny else 4.0),
        generator=args.seed,
    ).audios  # [段, 声道, 采样]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, audio in enumerate(audios):
        wav, picture = args.output_dir / f"audio_{n}.wav", args.output_dir / f"spectrogram_{n}.png"
        sounds.write_wav(wav, audio, pipe.unet.config.sample_rate)
        sounds.spectrogram(audio).save(picture)
        print(f"声音已写到 {wav.resolve()}，频谱图已写到 {picture.resolve()}")


if __name__ == "__main__":
    main()
