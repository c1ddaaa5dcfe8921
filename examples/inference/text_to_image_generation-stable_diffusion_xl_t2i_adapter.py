"""文生图：Stable Diffusion XL 与 T2I-Adapter，由提示词和控制图共同引导，默认以 DPT 估计的深度图为控制图。

python examples/inference/text_to_image_generation-stable_diffusion_xl_t2i_adapter.py --image 房子.png
python examples/inference/text_to_image_generation-stable_diffusion_xl_t2i_adapter.py --control_image 深度.png
python examples/inference/text_to_image_generation-stable_diffusion_xl_t2i_adapter.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableDiffusionXLAdapterPipeline, T2IAdapter
from ppdiffusers.transformers import DPTForDepthEstimation, DPTImageProcessor
from ppdiffusers.utils.depth import depth_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stabilityai/stable-diffusion-xl-base-1.0", help="模型名称或本地目录")
    parser.add_argument(
        "--adapter_model", default="TencentARC/t2i-adapter-depth-midas-sdxl-1.0", help="T2I-Adapter 的名称或本地目录"
    )
    parser.add_argument("--depth_model", default="Intel/dpt-hybrid-midas", help="深度模型的名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="估计深度的图像；默认使用示例图像")
    parser.add_argument("--control_image", type=Path, help="现成的深度图；指定后不再估计深度")
    parser.add_argument("--prompt", default="a wooden house in the snow, photograph", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--scale", type=float, default=1.0, help="控制强度，0 为不控制")
    parser.add_argument("--factor", type=float, default=1.0, help="使用控制图的步数占总步数的比例")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import t2i_adapter

        args.model, args.adapter_model, args.depth_model = t2i_adapter.make_xl_parts(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    adapter = T2IAdapter.from_pretrained(args.adapter_model)
    pipe = StableDiffusionXLAdapterPipeline.from_pretrained(args.model, adapter=adapter).to(device=args.device)

    # 控制图：越近越亮
    size = 64 if args.tiny else 1024
    if args.control_image is None:
        estimator = DPTForDepthEstimation.from_pretrained(args.depth_model)
        processor = DPTImageProcessor.from_pretrained(args.depth_model)
        control = depth_image(image_utils.load(args.image, size, size), estimator, processor)
    else:
        control = image_utils.load(args.control_image, size, size)

    # 生成图像
    image = pipe(
        args.prompt,
        image=control,
        negative_prompt=args.negative_prompt,
        adapter_conditioning_scale=args.scale,
        adapter_conditioning_factor=args.factor,
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
