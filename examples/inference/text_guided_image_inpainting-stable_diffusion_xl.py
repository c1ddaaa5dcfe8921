"""文本引导的图像修复：Stable Diffusion XL，按提示词重新生成掩码区域，其余保持不变。

python examples/inference/text_guided_image_inpainting-stable_diffusion_xl.py --image 图.png --mask 掩码.png
python examples/inference/text_guided_image_inpainting-stable_diffusion_xl.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableDiffusionXLInpaintPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="diffusers/stable-diffusion-xl-1.0-inpainting-0.1", help="模型名称或本地目录"
    )
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待修复的图像；默认使用示例图像")
    parser.add_argument("--mask", type=Path, help="掩码图像，白色为修复区域；默认使用示例掩码")
    parser.add_argument("--prompt", default="a yellow cat sitting on a bench", help="掩码区域的提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_xl

        # 修复模型的 UNet 输入为潜变量（4 通道）、掩码（1 通道）和掩码后的图像（4 通道）
        args.model = stable_diffusion_xl.make(args.output_dir / "tiny", in_channels=9)

    # 加载模型、图像和掩码
    pipe = StableDiffusionXLInpaintPipeline.from_pretrained(args.model).to(device=args.device)
    size = 64 if args.tiny else 1024
    source, mask = image_utils.load(args.image, size, size), image_utils.load_mask(args.mask, size, size)

    # 修复图像
    image = pipe(
        args.prompt,
        image=source,
        mask_image=mask,
        height=source.height,
        width=source.width,
        negative_prompt=args.negative_prompt,
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
