"""文生图：VQ-Diffusion，在码本索引上去噪，逐步预测被掩码的索引。

python examples/inference/text_to_image_generation-vq_diffusion.py --prompt "a teddy bear playing in the pool"
python examples/inference/text_to_image_generation-vq_diffusion.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-vq_diffusion.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import VQDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="microsoft/vq-diffusion-ithq", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a teddy bear playing in the pool", help="提示词（英文）")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数，最多 100；默认 100，试跑时 5")
    parser.add_argument("--guidance_scale", type=float, default=5.0, help="引导强度，越大越贴近提示词")
    parser.add_argument("--truncation_rate", type=float, default=0.86, help="只采样累计概率不超过该值的码本索引")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import vq_diffusion

        args.model = vq_diffusion.make(args.output_dir / "tiny")

    pipe = VQDiffusionPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
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
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
