"""文本转语音：Grad-TTS 由英文文本生成梅尔频谱，HiFi-GAN 由频谱生成波形，保存 WAV 文件和频谱图。

Grad-TTS 没有托管在模型社区的权重：先下载原仓库的两个检查点，再分别转换：
ppdiffusers convert --from grad_tts --pretrained_model_name_or_path grad-tts.pt --output_path ./grad-tts
ppdiffusers convert --from hifigan --pretrained_model_name_or_path hifigan.pt --config hifigan-config.json \
    --output_path ./hifigan
python examples/inference/text_to_speech_generation-grad_tts.py --model ./grad-tts --vocoder ./hifigan \
    --dictionary cmu_dictionary --text "Hello world, this is a test."
python examples/inference/text_to_speech_generation-grad_tts.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import audio_utils

from ppdiffusers import GradTTSPipeline, HiFiGANModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="huawei-noah/Grad-TTS", help="模型名称或本地目录")
    parser.add_argument("--vocoder", type=Path, help="转换后的 HiFi-GAN 目录；模型目录中已有声码器时无需指定")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--text", default="Here {HH AW1 S} number 21 stands.", help="英文文本；花括号内为 ARPAbet 音素")
    parser.add_argument("--dictionary", type=Path, help="CMU 发音词典文件；不指定时逐字母拼读，发音会变差")
    parser.add_argument("--speaker", type=int, help="说话人编号，从 0 开始；仅用于多说话人模型")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--num_inference_steps", type=int, default=10, help="推理步数")
    parser.add_argument("--temperature", type=float, default=1.5, help="初始噪声除以该值：越大越平稳")
    parser.add_argument("--length_scale", type=float, default=0.91, help="时长的倍数：越大语速越慢")
    parser.add_argument("--stochastic", action="store_true", help="求解 SDE（每步加噪声），默认求解 ODE")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import grad_tts

        args.model = grad_tts.make(args.output_dir / "tiny")
        args.speaker = args.speaker or 0

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = GradTTSPipeline.from_pretrained(args.model).to(device=args.device)
    if args.vocoder is not None:
        vocoder = HiFiGANModel.from_pretrained(args.vocoder, subfolder="vocoder")
        pipe = GradTTSPipeline.from_pipe(pipe, vocoder=vocoder).to(device=args.device)

    # 生成梅尔频谱和波形
    output = pipe(
        args.text,
        num_inference_steps=args.num_inference_steps,
        temperature=args.temperature,
        length_scale=args.length_scale,
        stochastic=args.stochastic,
        spk=args.speaker,
        dictionary=args.dictionary,
        generator=args.seed,
    )
    if output.audios is None:
        raise SystemExit("模型中没有声码器：请用 --vocoder 指定转换后的 HiFi-GAN 目录。")

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    wav, spectrogram = args.output_dir / "audio.wav", args.output_dir / "spectrogram.png"
    audio_utils.write_wav(wav, output.audios[0], pipe.vocoder.config.sample_rate)
    audio_utils.spectrogram(output.audios[0]).save(spectrogram)
    print(f"音频已保存到 {wav.resolve()}，频谱图已保存到 {spectrogram.resolve()}")


if __name__ == "__main__":
    main()
