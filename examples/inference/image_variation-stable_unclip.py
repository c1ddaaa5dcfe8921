"""图像变体：Stable unCLIP，由输入图像的 CLIP 嵌入生成内容相近的图像，可用提示词修改内容。

python examples/inference/image_variation-stable_unclip.py --image 图.png --prompt "in the snow"
python examples/inference/image_variation-stable_unclip.py --image 图.png --noise_level 500   # 变化更多
python examples/inference/image_variation-stable_unclip.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableUnCLIPImg2ImgPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-2-1-unclip", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="输入图像；默认使用示例图像")
    parser.add_argument("--prompt", default="", help="提示词（英文）；默认为空，只参考图像")
    parser.add_argument("--num_images", type=int, default=2, help="生成的图像数量")
    parser.add_argument("--noise_level", type=int, default=0, help="图像嵌入的噪声强度，0 到 999，越大变化越多")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 20，试跑时 2")
    parser.add_argument("--guidance_scale", type=float, default=10.0, help="引导强度，越大越接近输入图像和提示词")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_unclip

        args.model = stable_unclip.make_variation(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    images = pipe(
        image_utils.load(args.image),
        args.prompt,
        num_images_per_prompt=args.num_images,
        noise_level=args.noise_level,
        num_inference_steps=args.num_inference_steps or (2 if args.tiny else 20),
        guidance_scale=args.guidance_scale,
        generator=args.seed,
    ).images

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        path = args.output_dir / f"image-{n}.png"
        image.save(path)
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
