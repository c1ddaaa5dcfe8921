"""文生图：潜在一致性模型（LCM），英文提示词，1 到 8 步即可生成图像。

python examples/inference/text_to_image_generation-latent_consistency_model.py --prompt "a photo of a cat"
python examples/inference/text_to_image_generation-latent_consistency_model.py --model 本地目录   # 两种框架的权重
python examples/inference/text_to_image_generation-latent_consistency_model.py --tiny   # 离线试跑，数秒完成

引导强度是 UNet 的输入：每步只需一次预测，不支持负向提示词。
"""

import argparse
from pathlib import Path

from ppdiffusers import LatentConsistencyModelPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="SimianLuo/LCM_Dreamshaper_v7", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a photo of an astronaut riding a horse on mars", help="提示词")
    parser.add_argument("--num_inference_steps", type=int, default=4, help="推理步数，一般为 1 到 8")
    parser.add_argument("--guidance_scale", type=float, default=8.5, help="引导强度，越大越贴近提示词")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_consistency_model

        args.model = latent_consistency_model.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = LatentConsistencyModelPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    image = pipe(
        args.prompt,
        num_inference_steps=args.num_inference_steps,
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
