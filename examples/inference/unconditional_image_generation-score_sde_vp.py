"""无条件生成图片：方差保持的随机微分方程（VP SDE），用 DDPM 的网络。

python examples/inference/unconditional_image_generation-score_sde_vp.py --batch_size 4
python examples/inference/unconditional_image_generation-score_sde_vp.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import DDPMPipeline, ScoreSdeVpPipeline, ScoreSdeVpScheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ddpm-cifar10-32", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--batch_size", type=int, default=1, help="一次画几张")
    parser.add_argument("--num_inference_steps", type=int, help="步数，与训练时相同才好；默认 1000，试跑时 5")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import ddpm

        args.model = ddpm.make(args.output_dir / "tiny")

    # 加载：DDPM 的一千步就是这个方程的离散形式，网络相同，只换采样器（beta 从 0.1 到 20，即 DDPM 的一千倍）
    unet = DDPMPipeline.from_pretrained(args.model).unet
    pipe = ScoreSdeVpPipeline(unet, ScoreSdeVpScheduler(num_train_timesteps=1000)).to(device=args.device)

    # 作画：从随机噪声开始，一步步去噪
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
        print(f"图片已写到 {path.resolve()}")


if __name__ == "__main__":
    main()
