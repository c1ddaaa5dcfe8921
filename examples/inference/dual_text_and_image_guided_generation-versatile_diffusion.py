"""图文双引导生成：Versatile Diffusion，同时参考提示词和图像。

python examples/inference/dual_text_and_image_guided_generation-versatile_diffusion.py --image 车.png --prompt "a car"
python examples/inference/dual_text_and_image_guided_generation-versatile_diffusion.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import VersatileDiffusionDualGuidedPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shi-labs/versatile-diffusion", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="参考图像；默认使用示例图像")
    parser.add_argument("--prompt", default="a snowy landscape at night", help="提示词")
    parser.add_argument("--text_to_image_strength", type=float, default=0.75, help="提示词的权重，0 到 1，其余归图像")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="引导强度，越大越贴近提示词和图像")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import versatile_diffusion

        args.model = versatile_diffusion.make(args.output_dir / "tiny")

    # 加载模型；只用到文本 UNet 的注意力层，移除其余权重以节省内存
    pipe = VersatileDiffusionDualGuidedPipeline.from_pretrained(args.model).to(device=args.device)
    pipe.remove_unused_weights()

    # 生成图像
    image = pipe(
        args.prompt,
        image_utils.load(args.image),
        text_to_image_strength=args.text_to_image_strength,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        guidance_scale=args.guidance_scale,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
