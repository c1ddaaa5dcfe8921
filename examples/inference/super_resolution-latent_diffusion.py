"""图像超分：Latent Diffusion 4 倍超分，不需要提示词。

python examples/inference/super_resolution-latent_diffusion.py --image 低分辨率.png
python examples/inference/super_resolution-latent_diffusion.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/super_resolution-latent_diffusion.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import LDMSuperResolutionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/ldm-super-resolution-4x-openimages", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="低分辨率图像；默认使用示例图像")
    parser.add_argument("--image_size", type=int, default=128, help="低分辨率图像的边长（像素），须为 32 的倍数")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 100，试跑时 3")
    parser.add_argument("--eta", type=float, default=1.0, help="DDIM 的 eta，0 到 1")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_diffusion

        args.model, args.image_size = latent_diffusion.make_super_resolution(args.output_dir / "tiny"), 32

    pipe = LDMSuperResolutionPipeline.from_pretrained(args.model).to(device=args.device)

    # 超分
    small = image_utils.load(args.image, args.image_size, args.image_size)
    steps = args.num_inference_steps or (3 if args.tiny else 100)
    image = pipe(small, num_inference_steps=steps, eta=args.eta, generator=args.seed).images[0]

    # 保存低分辨率图像和超分结果，便于对比
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, result in (("small.png", small), ("image.png", image)):
        result.save(args.output_dir / name)
        print(f"{result.width} x {result.height} 的图像已保存到 {(args.output_dir / name).resolve()}")


if __name__ == "__main__":
    main()
