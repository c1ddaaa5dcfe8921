"""图生图：AltDiffusion 从一张图片出发，按中文（或其他语言的）提示词改画。

python examples/inference/image_to_image_text_guided_generation-alt_diffusion.py --image 草图.png --prompt "城堡，油画"
python examples/inference/image_to_image_text_guided_generation-alt_diffusion.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import AltDiffusionImg2ImgPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="BAAI/AltDiffusion-m9", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="出发的图片；默认画一座小屋")
    parser.add_argument("--prompt", default="草原上的城堡，油画", help="想画的内容，多种语言均可")
    parser.add_argument("--negative_prompt", help="不想看到的内容")
    parser.add_argument("--strength", type=float, default=0.75, help="改动多少：0 几乎不动，1 全部重画")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，只走 strength 那一份；默认 50，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import alt_diffusion

        args.model = alt_diffusion.make(args.output_dir / "tiny")

    # 加载模型和图片
    pipe = AltDiffusionImg2ImgPipeline.from_pretrained(args.model).to(device=args.device)
    side = 64 if args.tiny else 512
    source = pictures.load(args.image, side, side)

    # 改画
    image = pipe(
        args.prompt,
        image=source,
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
