"""文生图：GLIDE。基础模型在无分类器引导下生成 64 x 64 的小图，再由超分辨率模型放大到 256 x 256。

GLIDE 没有托管在模型社区的权重：先从 OpenAI 的 glide-text2im 仓库下载 base.pt、upsample.pt 和分词器的 vocab.bpe.gz，
放到同一个目录，再转换：
ppdiffusers convert --from glide --pretrained_model_name_or_path ./glide-files --output_path ./glide
python examples/inference/text_to_image_generation-glide.py --model ./glide --prompt "an oil painting of a corgi"
python examples/inference/text_to_image_generation-glide.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import GlidePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="openai/glide-text2im", help="转换后的本地目录，或模型名称")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="an oil painting of a corgi", help="提示词（英文）")
    parser.add_argument("--guidance_scale", type=float, default=3.0, help="基础模型的引导强度")
    parser.add_argument("--respacing", help="基础模型的时间步：步数、ddim50 或 10,5,2 等；默认 100，试跑时 3")
    parser.add_argument("--upsampler_respacing", help="超分辨率模型的时间步；默认 fast27，试跑时 ddim2")
    parser.add_argument("--upsample_temp", type=float, default=0.997, help="超分辨率初始噪声的倍数；越小越平滑")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import glide

        args.model = glide.make(args.output_dir / "tiny")

    pipe = GlidePipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    image = pipe(
        args.prompt,
        guidance_scale=args.guidance_scale,
        respacing=args.respacing or ("3" if args.tiny else "100"),
        upsampler_respacing=args.upsampler_respacing or ("ddim2" if args.tiny else "fast27"),
        upsample_temp=args.upsample_temp,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
