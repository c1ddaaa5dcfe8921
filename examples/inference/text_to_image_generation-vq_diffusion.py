"""文生图：VQ-Diffusion 在码本编号上去噪，每一步按概率抽取编号，直到遮罩全部揭开。

python examples/inference/text_to_image_generation-vq_diffusion.py --prompt "a teddy bear playing in the pool"
python examples/inference/text_to_image_generation-vq_diffusion.py --model 本地目录   # 任一框架的格式
python examples/inference/text_to_image_generation-vq_diffusion.py --tiny             # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import VQDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="microsoft/vq-diffusion-ithq", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a teddy bear playing in the pool", help="想画的内容，英文")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，最多 100；默认 100，试跑时 5")
    parser.add_argument("--guidance_scale", type=float, default=5.0, help="越大越听提示词的话")
    parser.add_argument("--truncation_rate", type=float, default=0.86, help="只从累计概率不超过它的编号里抽取")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import vq_diffusion

        args.model = vq_diffusion.make(args.output_dir / "tiny")

    pipe = VQDiffusionPipeline.from_pretrained(args.model).to(device=args.device)

    # 作画
    image = pipe(
        args.prompt,
        num_inference_steps=args.num_inference_steps or (5 if args.tiny else 100),
        guidance_scale=args.guidance_scale,
        truncation_rate=args.truncation_rate,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
