"""文生图：Versatile Diffusion 一个模型能做三件事，这里按提示词作画。

python examples/inference/text_to_image_generation-versatile_diffusion.py --prompt "a castle by the sea"
python examples/inference/text_to_image_generation-versatile_diffusion.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import VersatileDiffusionTextToImagePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shi-labs/versatile-diffusion", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="an astronaut riding on a horse on mars", help="想画的内容")
    parser.add_argument("--negative_prompt", help="不想看到的内容")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="越大越听提示词的话")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import versatile_diffusion

        args.model = versatile_diffusion.make(args.output_dir / "tiny")

    # 加载；文本 UNet 只用得上它的注意力层，其余的放掉，省内存
    pipe = VersatileDiffusionTextToImagePipeline.from_pretrained(args.model).to(device=args.device)
    pipe.remove_unused_weights()

    # 作画
    image = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        guidance_scale=args.guidance_scale,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
