"""无条件图像生成：Latent Diffusion（LDM），在潜空间采样，再解码为图像。

python examples/inference/unconditional_image_generation-latent_diffusion_uncond.py --batch_size 4
python examples/inference/unconditional_image_generation-latent_diffusion_uncond.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import LDMPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/ldm-celebahq-256", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--batch_size", type=int, default=1, help="每次生成的图像数量")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 200，试跑时 3")
    parser.add_argument("--eta", type=float, default=0.0, help="DDIM 的 eta：0 为确定性采样，1 相当于 DDPM")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_diffusion_uncond

        args.model = latent_diffusion_uncond.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = LDMPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像：从随机噪声开始逐步去噪
    images = pipe(
        batch_size=args.batch_size,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 200),
        eta=args.eta,
        generator=args.seed,
    ).images

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        path = args.output_dir / f"image_{n}.png"
        image.save(path)
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
