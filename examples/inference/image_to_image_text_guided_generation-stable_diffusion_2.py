"""图生图：Stable Diffusion 2.x 在一张图片的基础上按提示词作画。

python examples/inference/image_to_image_text_guided_generation-stable_diffusion_2.py --image 草图.png --strength 0.7
python examples/inference/image_to_image_text_guided_generation-stable_diffusion_2.py --model 本地目录  # 两种格式皆可
python examples/inference/image_to_image_text_guided_generation-stable_diffusion_2.py --tiny             # 离线试跑
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import StableDiffusionImg2ImgPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-2", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="起点图片；不给就画一张小屋")
    parser.add_argument("--prompt", default="a fairy-tale cottage, oil painting, highly detailed", help="想画的内容")
    parser.add_argument("--negative_prompt", help="不想看到的内容")
    parser.add_argument("--strength", type=float, default=0.75, help="0 到 1：越大离原图越远")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数；默认 50，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_2

        args.model = stable_diffusion_2.make(args.output_dir / "tiny")

    # 加载：文生图的模型目录可以直接用来图生图
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(args.model).to(device=args.device)

    # 先给原图加噪，再去噪：只走全部步数的 strength 那么多
    side = 64 if args.tiny else 768
    image = pipe(
        args.prompt,
        image=pictures.load(args.image, side, side),
        strength=args.strength,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (4 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
