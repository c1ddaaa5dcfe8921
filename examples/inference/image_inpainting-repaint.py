"""图像补画：RePaint，用没学过补画的 DDPM 网络，在时间上来回跳跃，使补上的与原有的相合。

python examples/inference/image_inpainting-repaint.py --image 图.png --mask 遮罩.png
python examples/inference/image_inpainting-repaint.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

import pictures
from PIL import ImageOps

from ppdiffusers import DDPMPipeline, RePaintPipeline, RePaintScheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ddpm-ema-celebahq-256", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="要补画的图片；默认画一座小屋")
    parser.add_argument("--mask", type=Path, help="遮罩，白色处重画；默认遮住小屋")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，越多越细；默认 250，试跑时 6")
    parser.add_argument("--eta", type=float, default=0.0, help="每步新加多少噪声：0 是 DDIM，1 是 DDPM")
    parser.add_argument("--jump_length", type=int, help="每次往回跳几步；默认 10，试跑时 2")
    parser.add_argument("--jump_n_sample", type=int, help="同一段走几遍；默认 10，试跑时 2")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import ddpm

        args.model = ddpm.make(args.output_dir / "tiny")

    # 加载：网络相同，只换采样器
    published = DDPMPipeline.from_pretrained(args.model)
    pipe = RePaintPipeline(published.unet, RePaintScheduler.from_config(published.scheduler.config)).to(
        device=args.device
    )
    side = published.unet.config.sample_size
    source, mask = pictures.load(args.image, side, side), pictures.load_mask(args.mask, side, side)

    # 补画；RePaint 的遮罩与别处相反，白色处保留
    image = pipe(
        image=source,
        mask_image=ImageOps.invert(mask),
        num_inference_steps=args.num_inference_steps or (6 if args.tiny else 250),
        eta=args.eta,
        jump_length=args.jump_length or (2 if args.tiny else 10),
        jump_n_sample=args.jump_n_sample or (2 if args.tiny else 10),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
