"""超分辨率：Latent Diffusion 把图片的边长放大到四倍，不用提示词。

python examples/inference/super_resolution-latent_diffusion.py --image 小图.png
python examples/inference/super_resolution-latent_diffusion.py --model 本地目录   # 任一框架的格式
python examples/inference/super_resolution-latent_diffusion.py --tiny             # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import LDMSuperResolutionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/ldm-super-resolution-4x-openimages", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要放大的图片；不给就画一张简单的风景")
    parser.add_argument("--side", type=int, default=128, help="小图先缩放到这个边长（像素），32 的倍数")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 100，试跑时 3")
    parser.add_argument("--eta", type=float, default=1.0, help="每步掺入多少新噪声，0 到 1")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_diffusion

        args.model, args.side = latent_diffusion.make_super_resolution(args.output_dir / "tiny"), 32

    pipe = LDMSuperResolutionPipeline.from_pretrained(args.model).to(device=args.device)

    # 放大
    small = pictures.load(args.image, args.side, args.side)
    steps = args.num_inference_steps or (3 if args.tiny else 100)
    image = pipe(small, num_inference_steps=steps, eta=args.eta, generator=args.seed).images[0]

    # 小图和大图都保存，便于对照
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, picture in (("small.png", small), ("image.png", image)):
        picture.save(args.output_dir / name)
        print(f"{picture.width} x {picture.height} 的图片已写到 {(args.output_dir / name).resolve()}")


if __name__ == "__main__":
    main()
