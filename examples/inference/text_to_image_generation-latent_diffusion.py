"""文生图：Latent Diffusion，英文提示词，文本编码器为 LDMBert，尺寸 256 x 256。

python examples/inference/text_to_image_generation-latent_diffusion.py --prompt "a painting of a squirrel"
python examples/inference/text_to_image_generation-latent_diffusion.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-latent_diffusion.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import LDMTextToImagePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/ldm-text2im-large-256", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a painting of a squirrel eating a burger", help="提示词（英文）")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=6.0, help="引导强度，越大越贴近提示词；1 表示关闭引导")
    parser.add_argument("--eta", type=float, default=0.3, help="DDIM 的 eta，0 到 1")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_diffusion

        args.model = latent_diffusion.make(args.output_dir / "tiny")

    pipe = LDMTextToImagePipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    image = pipe(
        args.prompt,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        guidance_scale=args.guidance_scale,
        eta=args.eta,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
