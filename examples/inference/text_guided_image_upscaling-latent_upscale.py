"""放大：先用 Stable Diffusion 1.x 作画，不解码，直接把潜变量放大到两倍，再解码成边长两倍的图片。

python examples/inference/text_guided_image_upscaling-latent_upscale.py --prompt "a photo of a cat"
python examples/inference/text_guided_image_upscaling-latent_upscale.py --image 图片.png     # 放大已有的图片
python examples/inference/text_guided_image_upscaling-latent_upscale.py --tiny               # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import StableDiffusionLatentUpscalePipeline, StableDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/sd-x2-latent-upscaler", help="放大模型：模型名或本地目录")
    parser.add_argument("--base_model", default="runwayml/stable-diffusion-v1-5", help="作画模型：模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要放大的图片，缩放到 512 x 512；不给就按提示词作画")
    parser.add_argument("--prompt", default="a photo of an astronaut, high resolution", help="图片的内容")
    parser.add_argument("--guidance_scale", type=float, default=0.0, help="放大时听提示词的程度；0 表示不看提示词")
    parser.add_argument("--num_inference_steps", type=int, help="放大的步数；默认 20，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_upscale, stable_diffusion

        args.model = latent_upscale.make(args.output_dir / "tiny" / "upscaler")
        args.base_model = stable_diffusion.make(args.output_dir / "tiny" / "base")

    # 作画到潜变量为止（或读入图片）
    if args.image is None:
        base = StableDiffusionPipeline.from_pretrained(args.base_model).to(device=args.device)
        steps = 3 if args.tiny else 50
        small = base(args.prompt, num_inference_steps=steps, generator=args.seed, output_type="latent").images
    else:
        small = pictures.load(args.image, 512, 512)

    # 放大到两倍
    upscaler = StableDiffusionLatentUpscalePipeline.from_pretrained(args.model).to(device=args.device)
    image = upscaler(
        args.prompt,
        image=small,
        guidance_scale=args.guidance_scale,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 20),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"{image.width} x {image.height} 的图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
