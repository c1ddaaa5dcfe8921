"""文生图：Stable Diffusion 1.x 与 T2I-Adapter，由提示词和控制图共同引导，默认以图像的色块为控制图。

python examples/inference/text_to_image_generation-t2i-adapter.py --image 图像.png --prompt "a city at night"
python examples/inference/text_to_image_generation-t2i-adapter.py --control_image 色块.png
python examples/inference/text_to_image_generation-t2i-adapter.py --tiny   # 离线试跑，数秒完成

T2I-Adapter 只对控制图计算一次特征，比每步都要计算的 ControlNet 更快。
"""

import argparse
from pathlib import Path

import image_utils
from PIL import Image

from ppdiffusers import StableDiffusionAdapterPipeline, T2IAdapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="CompVis/stable-diffusion-v1-4", help="模型名称或本地目录")
    parser.add_argument(
        "--adapter_model", default="TencentARC/t2iadapter_color_sd14v1", help="T2I-Adapter 的名称或本地目录"
    )
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="提取色块的图像；默认使用示例图像")
    parser.add_argument("--control_image", type=Path, help="现成的控制图；指定后不再提取色块")
    parser.add_argument("--prompt", default="At night, glowing cubes in front of the beach", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--scale", type=float, default=1.0, help="控制强度，0 为不控制")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import t2i_adapter

        args.model, args.adapter_model = t2i_adapter.make_base_and_adapter(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    adapter = T2IAdapter.from_pretrained(args.adapter_model)
    pipe = StableDiffusionAdapterPipeline.from_pretrained(args.model, adapter=adapter).to(device=args.device)

    # 控制图：缩小到 8x8 再放大，只保留色块
    size = 64 if args.tiny else 512
    if args.control_image is None:
        colors = image_utils.load(args.image, 8, 8)
        control = colors.resize((size, size), Image.Resampling.NEAREST)
    else:
        control = image_utils.load(args.control_image, size, size)

    # 生成图像
    image = pipe(
        args.prompt,
        image=control,
        negative_prompt=args.negative_prompt,
        adapter_conditioning_scale=args.scale,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, result in (("control.png", control), ("image.png", image)):
        path = args.output_dir / name
        result.save(path)
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
