"""图像编辑：Stable Diffusion XL 的 InstructPix2Pix，按文本指令编辑图像，例如“变成冬天”。

python examples/inference/instruct_pix2pix-stable_diffusion_xl.py --image 图.png --prompt "in snow"
python examples/inference/instruct_pix2pix-stable_diffusion_xl.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableDiffusionXLInstructPix2PixPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="diffusers/sdxl-instructpix2pix-768", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待编辑的图像；默认使用示例图像")
    parser.add_argument("--prompt", default="make it winter, with snow on the roof", help="编辑指令")
    parser.add_argument("--guidance_scale", type=float, default=3.0, help="引导强度，越大越贴近指令")
    parser.add_argument(
        "--image_guidance_scale", type=float, default=1.5, help="图像引导强度，至少为 1，越大越接近原图"
    )
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_xl

        # 编辑模型的 UNet 输入为潜变量和原图的潜变量，各 4 通道
        args.model = stable_diffusion_xl.make(
            args.output_dir / "tiny", StableDiffusionXLInstructPix2PixPipeline, in_channels=8
        )

    # 加载模型和图像
    pipe = StableDiffusionXLInstructPix2PixPipeline.from_pretrained(args.model).to(device=args.device)
    size = 64 if args.tiny else 768
    source = image_utils.load(args.image, size, size)

    # 编辑图像
    image = pipe(
        args.prompt,
        image=source,
        height=source.height,
        width=source.width,
        guidance_scale=args.guidance_scale,
        image_guidance_scale=args.image_guidance_scale,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
