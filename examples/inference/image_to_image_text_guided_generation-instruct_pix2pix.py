"""按指令改图：InstructPix2Pix 听一句话修改图片，例如“变成冬天”。

python examples/inference/image_to_image_text_guided_generation-instruct_pix2pix.py --image 图.png --prompt "in snow"
python examples/inference/image_to_image_text_guided_generation-instruct_pix2pix.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import StableDiffusionInstructPix2PixPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="timbrooks/instruct-pix2pix", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要改的图片；默认画一座小屋")
    parser.add_argument("--prompt", default="make it winter, with snow on the roof", help="修改的指令")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="越大越听指令的话")
    parser.add_argument("--image_guidance_scale", type=float, default=1.5, help="越大越保留原图，至少为 1")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import instruct_pix2pix

        args.model = instruct_pix2pix.make(args.output_dir / "tiny")

    # 加载模型和图片
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(args.model).to(device=args.device)
    side = 64 if args.tiny else 512
    source = pictures.load(args.image, side, side)

    # 修改
    image = pipe(
        args.prompt,
        image=source,
        guidance_scale=args.guidance_scale,
        image_guidance_scale=args.image_guidance_scale,
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
