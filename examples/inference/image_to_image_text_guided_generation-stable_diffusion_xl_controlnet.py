"""文本引导的图生图：Stable Diffusion XL 与 ControlNet，以输入图像为起点，由提示词和控制图共同引导。

默认从输入图像提取 Canny 边缘图作为控制图，重绘时保持原有轮廓。

python examples/inference/image_to_image_text_guided_generation-stable_diffusion_xl_controlnet.py --image 草图.png
python examples/inference/image_to_image_text_guided_generation-stable_diffusion_xl_controlnet.py --tiny   # 离线试跑
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import ControlNetModel, StableDiffusionXLControlNetImg2ImgPipeline
from ppdiffusers.utils.canny import canny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-xl-base-1.0", help="模型名称或本地目录")
    parser.add_argument(
        "--controlnet_model", default="diffusers/controlnet-canny-sdxl-1.0", help="ControlNet 的名称或本地目录"
    )
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="输入图像；默认使用示例图像")
    parser.add_argument("--control_image", type=Path, help="现成的控制图；指定后不再从输入图像提取边缘")
    parser.add_argument("--prompt", default="a fantasy castle on a meadow, highly detailed", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--strength", type=float, default=0.75, help="重绘强度，0 到 1，越大与输入图像差异越大")
    parser.add_argument("--scale", type=float, default=0.5, help="控制强度，0 为不控制")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数，实际执行 strength 倍；默认 50，试跑时 4")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_xl

        args.model, args.controlnet_model = stable_diffusion_xl.make_base_and_controlnet(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    controlnet = ControlNetModel.from_pretrained(args.controlnet_model)
    pipe = StableDiffusionXLControlNetImg2ImgPipeline.from_pretrained(args.model, controlnet=controlnet)
    pipe.to(device=args.device)

    # 输入图像和控制图：已安装 OpenCV 时用它提取边缘，否则用 numpy
    size = 64 if args.tiny else 1024
    source = image_utils.load(args.image, size, size)
    control = canny(source) if args.control_image is None else image_utils.load(args.control_image, size, size)

    # 生成图像
    image = pipe(
        args.prompt,
        image=source,
        control_image=control,
        strength=args.strength,
        negative_prompt=args.negative_prompt,
        controlnet_conditioning_scale=args.scale,
        num_inference_steps=args.num_inference_steps or (4 if args.tiny else 50),
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
