"""图像超分：Stable Diffusion 1.x 生成潜变量，直接对潜变量做 2 倍超分，再解码为图像。

python examples/inference/text_guided_image_upscaling-latent_upscale.py --prompt "a photo of a cat"
python examples/inference/text_guided_image_upscaling-latent_upscale.py --image 图像.png     # 对已有图像超分
python examples/inference/text_guided_image_upscaling-latent_upscale.py --tiny               # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableDiffusionLatentUpscalePipeline, StableDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/sd-x2-latent-upscaler", help="超分模型：模型名称或本地目录")
    parser.add_argument("--base_model", default="runwayml/stable-diffusion-v1-5", help="文生图模型：模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待超分的图像，缩放到 512 x 512；默认先按提示词生成")
    parser.add_argument("--prompt", default="a photo of an astronaut, high resolution", help="描述图像内容的提示词")
    parser.add_argument("--guidance_scale", type=float, default=0.0, help="超分的引导强度；0 表示不使用提示词")
    parser.add_argument("--num_inference_steps", type=int, help="超分的推理步数；默认 20，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import latent_upscale, stable_diffusion

        args.model = latent_upscale.make(args.output_dir / "tiny" / "upscaler")
        args.base_model = stable_diffusion.make(args.output_dir / "tiny" / "base")

    # 生成潜变量（或读取图像）
    if args.image is None:
        base = StableDiffusionPipeline.from_pretrained(args.base_model).to(device=args.device)
        steps = 3 if args.tiny else 50
        small = base(args.prompt, num_inference_steps=steps, generator=args.seed, output_type="latent").images
    else:
        small = image_utils.load(args.image, 512, 512)

    # 2 倍超分
    pipe = StableDiffusionLatentUpscalePipeline.from_pretrained(args.model).to(device=args.device)
    image = pipe(
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
    print(f"{image.width} x {image.height} 的图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
