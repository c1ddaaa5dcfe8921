"""无条件生成图片：Karras 等人的随机采样法，每步先加一点噪声，再作二阶校正。

python examples/inference/unconditional_image_generation-stochastic_karras_ve.py --batch_size 4
python examples/inference/unconditional_image_generation-stochastic_karras_ve.py --tiny   # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import KarrasVePipeline, KarrasVeScheduler, ScoreSdeVePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ncsnpp-celebahq-256", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--batch_size", type=int, default=1, help="一次画几张")
    parser.add_argument("--num_inference_steps", type=int, help="噪声级数，越多越细；默认 50，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import score_sde_ve

        args.model = score_sde_ve.make(args.output_dir / "tiny")

    # 加载：网络是 VE SDE 的 NCSN++，只换采样器
    unet = ScoreSdeVePipeline.from_pretrained(args.model).unet
    pipe = KarrasVePipeline(unet, KarrasVeScheduler()).to(device=args.device)

    # 作画：从随机噪声开始，一步步去噪
    images = pipe(
        batch_size=args.batch_size,
        num_inference_steps=args.num_inference_steps or (4 if args.tiny else 50),
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
