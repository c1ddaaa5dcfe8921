"""图像变体：unCLIP（DALL-E 2），由输入图像的 CLIP 嵌入生成内容相近的图像，不需要提示词。

python examples/inference/image_variation-unclip.py --image 图.png --num_images 4
python examples/inference/image_variation-unclip.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import UnCLIPImageVariationPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="kakaobrain/karlo-v1-alpha-image-variations", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="输入图像；默认使用示例图像")
    parser.add_argument("--num_images", type=int, default=2, help="生成的图像数量")
    parser.add_argument("--num_inference_steps", type=int, help="解码器的步数；默认 25，试跑时 2")
    parser.add_argument("--super_res_num_inference_steps", type=int, help="超分辨率的步数；默认 7，试跑时 2")
    parser.add_argument("--decoder_guidance_scale", type=float, default=8.0, help="引导强度，越大越接近输入图像")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import unclip

        args.model = unclip.make_variation(args.output_dir / "tiny")

    # 加载模型，自动识别 PyTorch 权重和 Paddle 权重
    pipe = UnCLIPImageVariationPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    images = pipe(
        image_utils.load(args.image),
        num_images_per_prompt=args.num_images,
        decoder_num_inference_steps=args.num_inference_steps or (2 if args.tiny else 25),
        super_res_num_inference_steps=args.super_res_num_inference_steps or (2 if args.tiny else 7),
        decoder_guidance_scale=args.decoder_guidance_scale,
        generator=args.seed,
    ).images

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        path = args.output_dir / f"image-{n}.png"
        image.save(path)
        print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
