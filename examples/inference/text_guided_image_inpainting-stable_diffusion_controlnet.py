"""文本引导的图像修复：Stable Diffusion 1.x 与 ControlNet，按提示词和控制图重新生成掩码区域。

控制图为输入图像，其中待修复的像素标为 -1，修复内容因此与周围衔接。

python examples/inference/text_guided_image_inpainting-stable_diffusion_controlnet.py --image 图.png --mask 掩码.png
python examples/inference/text_guided_image_inpainting-stable_diffusion_controlnet.py --tiny   # 离线试跑
"""

import argparse
from pathlib import Path

import image_utils
import numpy as np
from PIL import Image

from ppdiffusers import ControlNetModel, StableDiffusionControlNetInpaintPipeline


def masked(image: Image.Image, mask: Image.Image) -> np.ndarray:
    """inpaint ControlNet 的控制图 [1, H, W, 3]：取值 0 到 1，待修复的像素为 -1。"""
    pixels = np.asarray(image, dtype=np.float32) / 255  # [H, W, 3]
    pixels[np.asarray(mask) > 127] = -1
    return pixels[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runwayml/stable-diffusion-v1-5", help="模型名称或本地目录")
    parser.add_argument(
        "--controlnet_model", default="lllyasviel/control_v11p_sd15_inpaint", help="ControlNet 的名称或本地目录"
    )
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待修复的图像；默认使用示例图像")
    parser.add_argument("--mask", type=Path, help="掩码图像，白色为修复区域；默认使用示例掩码")
    parser.add_argument("--prompt", default="a yellow cat sitting on a bench", help="掩码区域的提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--scale", type=float, default=1.0, help="控制强度，0 为不控制")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_controlnet

        args.model, args.controlnet_model = stable_diffusion_controlnet.make_base_and_controlnet(
            args.output_dir / "tiny"
        )

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    controlnet = ControlNetModel.from_pretrained(args.controlnet_model)
    pipe = StableDiffusionControlNetInpaintPipeline.from_pretrained(args.model, controlnet=controlnet)
    pipe.to(device=args.device)

    # 图像、掩码和控制图
    size = 64 if args.tiny else 512
    source, mask = image_utils.load(args.image, size, size), image_utils.load_mask(args.mask, size, size)
    control = masked(source, mask)

    # 修复图像
    image = pipe(
        args.prompt,
        image=source,
        mask_image=mask,
        control_image=control,
        negative_prompt=args.negative_prompt,
        controlnet_conditioning_scale=args.scale,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
