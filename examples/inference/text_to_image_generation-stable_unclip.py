"""文生图：Stable unCLIP。先验网络由提示词生成 CLIP 图像嵌入，Stable Diffusion 2 再由嵌入和提示词生成图像。

python examples/inference/text_to_image_generation-stable_unclip.py --prompt "a big red frog on a green leaf"
python examples/inference/text_to_image_generation-stable_unclip.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-stable_unclip.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import StableUnCLIPPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fusing/stable-unclip-2-1-l", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a photo of an astronaut riding a horse on mars", help="提示词（英文）")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--noise_level", type=int, default=0, help="图像嵌入的噪声强度，0 到 999，越大变化越多")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 20，试跑时 2")
    parser.add_argument("--prior_num_inference_steps", type=int, help="先验网络的步数；默认 25，试跑时 2")
    parser.add_argument("--guidance_scale", type=float, default=10.0, help="引导强度，越大越贴近提示词")
    parser.add_argument("--prior_guidance_scale", type=float, default=4.0, help="先验网络的引导强度")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_unclip

        args.model = stable_unclip.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = StableUnCLIPPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    image = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        noise_level=args.noise_level,
        num_inference_steps=args.num_inference_steps or (2 if args.tiny else 20),
        prior_num_inference_steps=args.prior_num_inference_steps or (2 if args.tiny else 25),
        guidance_scale=args.guidance_scale,
        prior_guidance_scale=args.prior_guidance_scale,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
