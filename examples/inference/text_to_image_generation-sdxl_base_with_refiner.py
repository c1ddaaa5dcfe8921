"""文生图：Stable Diffusion XL 的基础模型和 refiner 接力去噪，基础模型完成前一部分，refiner 完成其余部分。

python examples/inference/text_to_image_generation-sdxl_base_with_refiner.py --prompt "a photo of a cat"
python examples/inference/text_to_image_generation-sdxl_base_with_refiner.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-xl-base-1.0", help="基础模型")
    parser.add_argument("--refiner_model", default="stabilityai/stable-diffusion-xl-refiner-1.0", help="refiner")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a photo of an astronaut riding a horse on mars", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--high_noise_frac", type=float, default=0.8, help="由基础模型完成的部分，0 到 1")
    parser.add_argument("--num_inference_steps", type=int, help="两个模型合计的推理步数；默认 40，试跑时 5")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_xl

        args.model, args.refiner_model = stable_diffusion_xl.make_base_and_refiner(args.output_dir / "tiny")

    # 加载两个模型
    pipe = StableDiffusionXLPipeline.from_pretrained(args.model).to(device=args.device)
    refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(args.refiner_model).to(device=args.device)
    settings = {
        "prompt": args.prompt,
        "negative_prompt": args.negative_prompt,
        "num_inference_steps": args.num_inference_steps or (5 if args.tiny else 40),
        "generator": args.seed,
    }

    # 基础模型输出仍含噪声的潜变量，refiner 从同一噪声水平继续
    latents = pipe(**settings, denoising_end=args.high_noise_frac, output_type="latent").images
    image = refiner(**settings, image=latents, denoising_start=args.high_noise_frac).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
