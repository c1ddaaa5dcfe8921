"""文生图：Stable Diffusion XL 与支持多种控制类型的 ControlNet（ControlNet++），由提示词和一张或多张控制图共同引导。

默认以 Canny 边缘图为控制图。xinsir/controlnet-union-sdxl-1.0 的控制类型：
0 姿态，1 深度，2 草图，3 边缘与线稿，4 法线，5 语义分割。

python examples/inference/text_to_image_generation-stable_diffusion_xl_controlnet_union.py --image 房子.png
python examples/inference/text_to_image_generation-stable_diffusion_xl_controlnet_union.py \\
    --control_image 深度.png 边缘.png --control_mode 1 3
python examples/inference/text_to_image_generation-stable_diffusion_xl_controlnet_union.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import ControlNetUnionModel, StableDiffusionXLControlNetUnionPipeline
from ppdiffusers.utils.canny import canny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-xl-base-1.0", help="模型名称或本地目录")
    parser.add_argument(
        "--controlnet_model", default="xinsir/controlnet-union-sdxl-1.0", help="ControlNet 的名称或本地目录"
    )
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="提取边缘的图像；默认使用示例图像")
    parser.add_argument("--control_image", type=Path, nargs="+", help="现成的控制图，可以有多张；指定后不再提取边缘")
    parser.add_argument("--control_mode", type=int, nargs="+", default=[3], help="每张控制图的类型；默认 3，即边缘")
    parser.add_argument("--prompt", default="a wooden house in the snow, photograph", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--scale", type=float, default=1.0, help="控制强度")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_xl

        args.model, args.controlnet_model = stable_diffusion_xl.make_base_and_controlnet_union(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    controlnet = ControlNetUnionModel.from_pretrained(args.controlnet_model)
    pipe = StableDiffusionXLControlNetUnionPipeline.from_pretrained(args.model, controlnet=controlnet)
    pipe.to(device=args.device)

    # 控制图：已安装 OpenCV 时用它提取边缘，否则用 numpy
    size = 64 if args.tiny else 1024
    if args.control_image is None:
        controls = [canny(image_utils.load(args.image, size, size))]
    else:
        controls = [image_utils.load(path, size, size) for path in args.control_image]

    # 生成图像
    image = pipe(
        args.prompt,
        control_image=controls,
        control_mode=args.control_mode,
        negative_prompt=args.negative_prompt,
        controlnet_conditioning_scale=args.scale,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    named = {**{f"control_{n}.png": control for n, control in enumerate(controls)}, "image.png": image}
    for name, result in named.items():
        path = args.output_dir / name
        result.save(path)
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
