"""文生图：Latent Diffusion 按英文提示词作画（LDMBert 读文本，256 x 256）。

python examples/inference/text_to_image_generation-latent_diffusion.py --prompt "a painting of a squirrel"
python examples/inference/text_to_image_generation-latent_diffusion.py --model 本地目录   # 任一框架的格式
python examples/inference/text_to_image_generation-latent_diffusion.py --tiny             # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import LDMTextToImagePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/ldm-text2im-large-256", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a painting of a squirrel eating a burger", help="想画的内容，英文")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=6.0, help="越大越听提示词的话；1 表示不引导")
    parser.add_argument("--eta", type=float, default=0.3, help="每步掺入多少新噪声，0 到 1")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_diffusion

        args.model = latent_diffusion.make(args.output_dir / "tiny")

    pipe = LDMTextToImagePipeline.from_pretrained(args.model).to(device=args.device)

    # 作画
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
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
