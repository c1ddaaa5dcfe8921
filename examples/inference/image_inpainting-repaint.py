"""图像修复：RePaint，使用无条件 DDPM 网络，通过重采样使修复区域与已知区域协调。

python examples/inference/image_inpainting-repaint.py --image 图.png --mask 掩码.png
python examples/inference/image_inpainting-repaint.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils
from PIL import ImageOps

from ppdiffusers import DDPMPipeline, RePaintPipeline, RePaintScheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ddpm-ema-celebahq-256", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待修复的图像；默认使用示例图像")
    parser.add_argument("--mask", type=Path, help="掩码图像，白色为修复区域；默认使用示例掩码")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 250，试跑时 6")
    parser.add_argument("--eta", type=float, default=0.0, help="DDIM 的 eta：0 为确定性采样，1 相当于 DDPM")
    parser.add_argument("--jump_length", type=int, help="每次回跳的步数；默认 10，试跑时 2")
    parser.add_argument("--jump_n_sample", type=int, help="每段重采样的次数；默认 10，试跑时 2")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import ddpm

        args.model = ddpm.make(args.output_dir / "tiny")

    # 加载模型：网络相同，只更换调度器
    ddpm_pipe = DDPMPipeline.from_pretrained(args.model)
    pipe = RePaintPipeline(ddpm_pipe.unet, RePaintScheduler.from_config(ddpm_pipe.scheduler.config)).to(
        device=args.device
    )
    size = ddpm_pipe.unet.config.sample_size
    source, mask = image_utils.load(args.image, size, size), image_utils.load_mask(args.mask, size, size)

    # 修复图像；RePaint 的掩码含义相反，白色为保留区域
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
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
