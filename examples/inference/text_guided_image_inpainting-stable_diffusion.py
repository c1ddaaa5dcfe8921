"""图像补画：Stable Diffusion 1.x 按提示词重画遮罩盖住的部分，其余不动。

python examples/inference/text_guided_image_inpainting-stable_diffusion.py --image 图.png --mask 遮罩.png
python examples/inference/text_guided_image_inpainting-stable_diffusion.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import StableDiffusionInpaintPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runwayml/stable-diffusion-inpainting", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要补画的图片；默认画一座小屋")
    parser.add_argument("--mask", type=Path, help="遮罩，白色处重画；默认遮住小屋")
    parser.add_argument("--prompt", default="a yellow cat sitting on a bench", help="遮罩里想画的内容")
    parser.add_argument("--negative_prompt", help="不想看到的内容")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion

        # 补画模型的 UNet 除了潜变量（4 通道）还看遮罩（1）和被遮住的图（4）
        args.model = stable_diffusion.make(args.output_dir / "tiny", in_channels=9)

    # 加载模型、图片和遮罩
    pipe = StableDiffusionInpaintPipeline.from_pretrained(args.model).to(device=args.device)
    side = 64 if args.tiny else 512
    source, mask = pictures.load(args.image, side, side), pictures.load_mask(args.mask, side, side)

    # 补画
    image = pipe(
        args.prompt,
        image=source,
        mask_image=mask,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
