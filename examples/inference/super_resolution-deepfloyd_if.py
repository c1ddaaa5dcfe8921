"""图像超分：DeepFloyd IF 的第二阶段，按提示词将 64 x 64 的图像放大到 256 x 256。

python examples/inference/super_resolution-deepfloyd_if.py --image 小图.png --prompt "a small house"
python examples/inference/super_resolution-deepfloyd_if.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/super_resolution-deepfloyd_if.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import IFSuperResolutionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="DeepFloyd/IF-II-L-v1.0", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待放大的图像；默认使用示例图像")
    parser.add_argument("--prompt", default="a small house on a meadow", help="图像内容的描述（英文）")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--noise_level", type=int, default=250, help="给小图加入的噪声，0 到 999，用于掩盖小图的瑕疵")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import deepfloyd_if

        args.model = deepfloyd_if.make_super_resolution(args.output_dir / "tiny")

    pipe = IFSuperResolutionPipeline.from_pretrained(args.model).to(device=args.device)

    # 放大图像
    size = 16 if args.tiny else 64
    image = pipe(
        args.prompt,
        image=image_utils.load(args.image, size, size),
        noise_level=args.noise_level,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        generator=args.seed,
        clean_caption=False,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
