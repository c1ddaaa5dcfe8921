"""图生图：CycleDiffusion 先找出原图的噪声，再按新提示词重画，构图不变。

python examples/inference/image_to_image_text_guided_generation-cycle_diffusion.py --image 马.png
python examples/inference/image_to_image_text_guided_generation-cycle_diffusion.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures

from ppdiffusers import CycleDiffusionPipeline, DDIMScheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/stable-diffusion-v1-4", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="原图；默认画一座小屋")
    parser.add_argument("--source_prompt", default="a drawing of a wooden house", help="原图画的是什么")
    parser.add_argument("--prompt", default="a drawing of a stone castle", help="想改成什么")
    parser.add_argument("--strength", type=float, default=0.8, help="改动多少：0 几乎不动，1 全部重画")
    parser.add_argument("--eta", type=float, default=0.1, help="每步噪声的份额，大于 0，最多 1")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 100，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion

        args.model = stable_diffusion.make(args.output_dir / "tiny")

    # 加载：CycleDiffusion 只能配 DDIM 采样器
    scheduler = DDIMScheduler.from_pretrained(args.model, subfolder="scheduler")
    pipe = CycleDiffusionPipeline.from_pretrained(args.model, scheduler=scheduler).to(device=args.device)
    side = 64 if args.tiny else 512
    source = pictures.load(args.image, side, side)

    # 改画
    image = pipe(
        args.prompt,
        source_prompt=args.source_prompt,
        image=source,
        strength=args.strength,
        eta=args.eta,
        guidance_scale=2,
        num_inference_steps=args.num_inference_steps or (4 if args.tiny else 100),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
