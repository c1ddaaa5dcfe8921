"""无条件图像生成：Karras VE，每步先加入少量噪声，再做二阶校正。

python examples/inference/unconditional_image_generation-stochastic_karras_ve.py --batch_size 4
python examples/inference/unconditional_image_generation-stochastic_karras_ve.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import KarrasVePipeline, KarrasVeScheduler, ScoreSdeVePipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ncsnpp-celebahq-256", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--batch_size", type=int, default=1, help="每次生成的图像数量")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数，即噪声级数；默认 50，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import score_sde_ve

        args.model = score_sde_ve.make(args.output_dir / "tiny")

    # 加载模型：网络为 VE SDE 的 NCSN++，只更换调度器
    unet = ScoreSdeVePipeline.from_pretrained(args.model).unet
    pipe = KarrasVePipeline(unet, KarrasVeScheduler()).to(device=args.device)

    # 生成图像：从随机噪声开始逐步去噪
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
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
