"""频谱转音频：BDDM 声码器，先由调度网络搜索步数很少的噪声调度，再由对数梅尔频谱生成波形，保存 WAV 文件和频谱图。

BDDM 没有托管在模型社区的权重：先下载原仓库的检查点，再转换：
ppdiffusers convert --from bddm --pretrained_model_name_or_path DiffWave_GALR.pkl --output_path ./bddm
python examples/inference/spectrogram_to_audio-bddm.py --model ./bddm --mel mel.npy --schedule 12steps.ns
python examples/inference/spectrogram_to_audio-bddm.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import audio_utils
import numpy as np

from ppdiffusers import BDDMPipeline, load_noise_schedule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tencent-ailab/bddm", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--mel", type=Path, help="对数梅尔频谱：形状为 [频带, 帧] 的 .npy 文件；默认使用一段示例")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--schedule", type=Path, help="原仓库的噪声调度文件（.ns）；默认现场搜索")
    parser.add_argument("--num_inference_steps", type=int, default=12, help="搜索的最大步数")
    parser.add_argument("--alpha", type=float, default=0.3, help="搜索的起点：最后一步的 alpha")
    parser.add_argument("--beta", type=float, default=0.5, help="搜索的起点：最后一步的 beta")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import bddm

        args.model = bddm.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = BDDMPipeline.from_pretrained(args.model).to(device=args.device)

    # 对数梅尔频谱 [频带, 帧]：须与训练时的设置一致（频带数、帧移、采样率）
    if args.mel is None:
        mel = audio_utils.example_mel(pipe.score_net.config.cond_channels)
    else:
        mel = np.load(args.mel)

    # 噪声调度：读取文件，或由调度网络搜索
    if args.schedule is None:
        betas = pipe.search_noise_schedule(
            mel, args.alpha, args.beta, max_steps=args.num_inference_steps, generator=args.seed
        )
    else:
        betas = load_noise_schedule(args.schedule)
    print(f"噪声调度共 {len(betas)} 步：{np.round(betas, 6).tolist()}")

    # 生成波形
    audio = pipe(mel, betas=betas, generator=args.seed).audios[0]  # [1, L]
    audio = audio / np.abs(audio).max()

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    wav, spectrogram = args.output_dir / "audio.wav", args.output_dir / "spectrogram.png"
    audio_utils.write_wav(wav, audio, pipe.score_net.config.sample_rate)
    audio_utils.spectrogram(audio).save(spectrogram)
    print(f"音频已保存到 {wav.resolve()}，频谱图已保存到 {spectrogram.resolve()}")


if __name__ == "__main__":
    main()
