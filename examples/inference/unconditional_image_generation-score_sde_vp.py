"""无条件图像生成：Score SDE VP（方差保持），使用 DDPM 的网络。

python examples/inference/unconditional_image_generation-score_sde_vp.py --batch_size 4
python examples/inference/unconditional_image_generation-score_sde_vp.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import DDPMPipeline, ScoreSdeVpPipeline, ScoreSdeVpScheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ddpm-cifar10-32", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--batch_size", type=int, default=1, help="每次生成的图像数量")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数，建议与训练步数相同；默认 1000，试跑时 5")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import ddpm

        args.model = ddpm.make(args.output_dir / "tiny")

    # 加载模型：DDPM 是该方程的离散形式，网络相同，只更换调度器（beta 为 0.1 到 20，即 DDPM 的 1000 倍）
    unet = DDPMPipeline.from_pretrained(args.model).unet
    pipe = ScoreSdeVpPipeline(unet, ScoreSdeVpScheduler(num_train_timesteps=1000)).to(device=args.device)

    # 生成图像：从随机噪声开始逐步去噪
    images = pipe(
        batch_size=args.batch_size,
        num_inference_steps=args.num_inference_steps or (5 if args.tiny else 1000),
        generator=args.seed,
    ).images

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        path = args.output_dir / f"image_{n}.png"
        image.save(path)
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
