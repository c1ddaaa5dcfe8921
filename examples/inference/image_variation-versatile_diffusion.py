"""图像变体：Versatile Diffusion 不用提示词，画出与给定图片相似的图片。

python examples/inference/image_variation-versatile_diffusion.py --image 图.png --num_images 4
python examples/inference/image_variation-versatile_diffusion.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import VersatileDiffusionImageVariationPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shi-labs/versatile-diffusion", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="照着画的图片；默认画一座小屋")
    parser.add_argument("--num_images", type=int, default=2, help="画几张")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="越大越像原图")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import versatile_diffusion

        args.model = versatile_diffusion.make(args.output_dir / "tiny")

    # 加载：只读取这项任务用得上的部分，文本编码器和文本 UNet 不读
    pipe = VersatileDiffusionImageVariationPipeline.from_pretrained(args.model).to(device=args.device)

    # 作画
    images = pipe(
        pictures.load(args.image),
        num_images_per_prompt=args.num_images,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        guidance_scale=args.guidance_scale,
        generator=args.seed,
    ).images

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        path = args.output_dir / f"image-{n}.png"
        image.save(path)
        print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
