"""无条件生成图片：潜扩散（LDM），先画出缩小的潜变量，再解码成图。

python examples/inference/unconditional_image_generation-latent_diffusion_uncond.py --batch_size 4
python examples/inference/unconditional_image_generation-latent_diffusion_uncond.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import LDMPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/ldm-celebahq-256", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--batch_size", type=int, default=1, help="一次画几张")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 200，试跑时 3")
    parser.add_argument("--eta", type=float, default=0.0, help="每步新加多少噪声：0 是 DDIM，1 是 DDPM")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_diffusion_uncond

        args.model = latent_diffusion_uncond.make(args.output_dir / "tiny")

    # 加载：目录里是 PyTorch 权重还是 Paddle 权重，不必说明
    pipe = LDMPipeline.from_pretrained(args.model).to(device=args.device)

    # 作画：从随机噪声开始，一步步去噪
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
        print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
