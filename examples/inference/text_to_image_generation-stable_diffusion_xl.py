"""文生图：Stable Diffusion XL，英文提示词，默认 1024x1024。

python examples/inference/text_to_image_generation-stable_diffusion_xl.py --prompt "a photo of a cat"
python examples/inference/text_to_image_generation-stable_diffusion_xl.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-stable_diffusion_xl.py --tiny             # 离线试跑，数秒完成

加载 LoRA（PEFT、Kohya、LyCORIS 格式的文件）：--lora 本地文件.safetensors --lora_scale 0.8
蒸馏模型（SDXL-Turbo）只需一步且不用引导：--model stabilityai/sdxl-turbo --num_inference_steps 1 --guidance_scale 0
"""

import argparse
from pathlib import Path

from ppdiffusers import StableDiffusionXLPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-xl-base-1.0", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a photo of an astronaut riding a horse on mars", help="提示词")
    parser.add_argument("--prompt_2", help="第二个文本编码器的提示词；默认与 --prompt 相同")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--lora", help="LoRA 文件、目录或模型名称，格式自动识别")
    parser.add_argument("--lora_scale", type=float, default=1.0, help="LoRA 的权重")
    parser.add_argument("--height", type=int, help="图像高度（像素），8 的倍数；默认由模型决定")
    parser.add_argument("--width", type=int, help="图像宽度（像素），8 的倍数；默认由模型决定")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=5.0, help="引导强度，越大越贴近提示词")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_xl

        args.model = stable_diffusion_xl.make(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = StableDiffusionXLPipeline.from_pretrained(args.model).to(device=args.device)

    # 加载 LoRA：UNet 和两个文本编码器
    if args.lora:
        pipe.load_lora_weights(args.lora, adapter_name="lora")
        pipe.set_adapters("lora", args.lora_scale)

    # 生成图像
    image = pipe(
        args.prompt,
        prompt_2=args.prompt_2,
        negative_prompt=args.negative_prompt,
        height=args.height,
        width=args.width,
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
