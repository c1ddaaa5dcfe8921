"""放大：Stable Diffusion 2 的放大模型把小图的边长放大到四倍，细节按提示词补上。

python examples/inference/text_guided_image_upscaling-stable_diffusion_2.py --image 小图.png --prompt "a white cat"
python examples/inference/text_guided_image_upscaling-stable_diffusion_2.py --model 本地目录   # 任一框架的格式
python examples/inference/text_guided_image_upscaling-stable_diffusion_2.py --tiny             # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import StableDiffusionUpscalePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-x4-upscaler", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要放大的图片；不给就画一张小屋")
    parser.add_argument("--side", type=int, default=128, help="小图先缩放到这个边长（像素）")
    parser.add_argument("--prompt", default="a small house on a meadow, photograph", help="图片的内容")
    parser.add_argument("--noise_level", type=int, default=20, help="给小图加多少噪声，0 到 350：越大越听提示词的话")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数；默认 75，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_2_upscaler

        args.model, args.side = stable_diffusion_2_upscaler.make(args.output_dir / "tiny"), 16

    pipe = StableDiffusionUpscalePipeline.from_pretrained(args.model).to(device=args.device)

    # 放大
    small = pictures.load(args.image, args.side, args.side)
    image = pipe(
        args.prompt,
        image=small,
        noise_level=args.noise_level,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 75),
        generator=args.seed,
    ).images[0]

    # 小图和大图都保存，便于对照
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, picture in (("small.png", small), ("image.png", image)):
        picture.save(args.output_dir / name)
        print(f"{picture.width} x {picture.height} 的图片已写到 {(args.output_dir / name).resolve()}")


if __name__ == "__main__":
    main()
