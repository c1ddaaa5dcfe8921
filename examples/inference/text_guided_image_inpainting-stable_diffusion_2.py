"""补画：Stable Diffusion 2 按提示词重画图片里蒙版盖住的地方。

python examples/inference/text_guided_image_inpainting-stable_diffusion_2.py --image 照片.png --mask 蒙版.png
python examples/inference/text_guided_image_inpainting-stable_diffusion_2.py --model 本地目录   # 任一框架的格式
python examples/inference/text_guided_image_inpainting-stable_diffusion_2.py --tiny             # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import StableDiffusionInpaintPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-2-inpainting", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要补画的图片；不给就画一张小屋")
    parser.add_argument("--mask", type=Path, help="蒙版，白色处重画；不给就遮住小屋")
    parser.add_argument("--prompt", default="a windmill on a meadow", help="补画的内容")
    parser.add_argument("--negative_prompt", help="不想看到的内容")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_2

        # 补画模型的 UNet 还看蒙版和盖住之后的图片：4 + 1 + 4 个通道
        args.model = stable_diffusion_2.make(args.output_dir / "tiny", in_channels=9)

    pipe = StableDiffusionInpaintPipeline.from_pretrained(args.model).to(device=args.device)

    # 补画
    side = 64 if args.tiny else 512
    image = pipe(
        args.prompt,
        image=pictures.load(args.image, side, side),
        mask_image=pictures.load_mask(args.mask, side, side),
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
