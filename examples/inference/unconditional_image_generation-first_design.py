"""无条件图像生成：在循环中写出 DDPM 的每一步公式（diffusers 最初设计文档的写法），适合学习与修改采样过程。

python examples/inference/unconditional_image_generation-first_design.py
python examples/inference/unconditional_image_generation-first_design.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import numpy as np
import paddle
import PIL.Image
import tqdm

from ppdiffusers import GaussianDDPMScheduler, UNetModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google/ddpm-celebahq-256", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import ddpm

        args.model = ddpm.make_network(args.output_dir / "tiny")

    generator = paddle.Generator().manual_seed(args.seed)

    # 1. 加载模型与 scheduler
    scheduler = GaussianDDPMScheduler.from_pretrained(args.model)
    model = UNetModel.from_pretrained(args.model).to(device=args.device)

    # 2. 采样高斯噪声
    image = scheduler.sample_noise((1, model.in_channels, model.resolution, model.resolution), generator=generator)

    # 3. 逐步去噪
    for t in tqdm.tqdm(reversed(range(len(scheduler))), total=len(scheduler)):
        # i) 计算时间步 t 的系数
        clip_image_coeff = 1 / paddle.sqrt(scheduler.get_alpha_prod(t))
        clip_noise_coeff = paddle.sqrt(1 / scheduler.get_alpha_prod(t) - 1)
        image_coeff = (
            (1 - scheduler.get_alpha_prod(t - 1))
            * paddle.sqrt(scheduler.get_alpha(t))
            / (1 - scheduler.get_alpha_prod(t))
        )
        clip_coeff = (
            paddle.sqrt(scheduler.get_alpha_prod(t - 1)) * scheduler.get_beta(t) / (1 - scheduler.get_alpha_prod(t))
        )

        # ii) 预测噪声
        with paddle.no_grad():
            noise_residual = model(image, t)

        # iii) 由预测的噪声计算图像：先求 x_0 并裁剪，再求后验均值
        pred_mean = clip_image_coeff * image - clip_noise_coeff * noise_residual
        pred_mean = paddle.clip(pred_mean, -1, 1)
        prev_image = clip_coeff * pred_mean + image_coeff * image

        # iv) 采样方差
        prev_variance = scheduler.sample_variance(t, prev_image.shape, generator=generator)

        # v) 采样 x_{t-1} ~ N(prev_image, prev_variance)
        image = prev_image + prev_variance

    # 4. 保存
    pixels = ((image.transpose([0, 2, 3, 1]) + 1.0) * 127.5).clip(0, 255).numpy().astype(np.uint8)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image_0.png"
    PIL.Image.fromarray(pixels[0]).save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
