"""文生图：Stable Diffusion 2.x，默认尺寸 768 x 768。

python examples/inference/text_to_image_generation-stable_diffusion_2.py --prompt "a photo of a cat"
python examples/inference/text_to_image_generation-stable_diffusion_2.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-stable_diffusion_2.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-2", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a castle above the clouds, matte painting", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 25，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="引导强度，越大越贴近提示词")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_2

        args.model = stable_diffusion_2.make(args.output_dir / "tiny")

    # 加载模型，并更换为 DPM-Solver++ 调度器，约 25 步即可；v 预测由调度器配置指定
    pipe = StableDiffusionPipeline.from_pretrained(args.model).to(device=args.device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)

    # 生成图像，尺寸为 UNet 的训练尺寸
    image = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 25),
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
