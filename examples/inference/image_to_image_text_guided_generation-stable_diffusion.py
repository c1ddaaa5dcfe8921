"""文本引导的图生图：Stable Diffusion 1.x，以输入图像为起点，按提示词生成。

python examples/inference/image_to_image_text_guided_generation-stable_diffusion.py --image 草图.png --prompt "a castle"
python examples/inference/image_to_image_text_guided_generation-stable_diffusion.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableDiffusionImg2ImgPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runwayml/stable-diffusion-v1-5", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="输入图像；默认使用示例图像")
    parser.add_argument("--prompt", default="a fantasy castle on a meadow, highly detailed", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--strength", type=float, default=0.75, help="重绘强度，0 到 1，越大与输入图像差异越大")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数，实际执行 strength 倍；默认 50，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion

        args.model = stable_diffusion.make(args.output_dir / "tiny")

    # 加载模型和图像
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(args.model).to(device=args.device)
    size = 64 if args.tiny else 512
    source = image_utils.load(args.image, size, size)

    # 生成图像
    image = pipe(
        args.prompt,
        image=source,
        strength=args.strength,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (4 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
