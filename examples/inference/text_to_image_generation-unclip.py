"""文生图：unCLIP（DALL-E 2）。先验网络由提示词生成 CLIP 图像嵌入，解码器由嵌入生成 64 x 64 的小图，再放大到 256 x 256。

python examples/inference/text_to_image_generation-unclip.py --prompt "a big red frog on a green leaf"
python examples/inference/text_to_image_generation-unclip.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-unclip.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import UnCLIPPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="kakaobrain/karlo-v1-alpha", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument(
        "--prompt", default="a high-resolution photograph of a big red frog on a green leaf.", help="提示词（英文）"
    )
    parser.add_argument("--num_inference_steps", type=int, help="先验网络和解码器的步数；默认 25，试跑时 2")
    parser.add_argument("--super_res_num_inference_steps", type=int, help="超分辨率的步数；默认 7，试跑时 2")
    parser.add_argument("--prior_guidance_scale", type=float, default=4.0, help="先验网络的引导强度")
    parser.add_argument("--decoder_guidance_scale", type=float, default=8.0, help="解码器的引导强度")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import unclip

        args.model = unclip.make(args.output_dir / "tiny")

    pipe = UnCLIPPipeline.from_pretrained(args.model).to(device=args.device)

    # 生成图像
    steps = args.num_inference_steps or (2 if args.tiny else 25)
    image = pipe(
        args.prompt,
        prior_num_inference_steps=steps,
        decoder_num_inference_steps=steps,
        super_res_num_inference_steps=args.super_res_num_inference_steps or (2 if args.tiny else 7),
        prior_guidance_scale=args.prior_guidance_scale,
        decoder_guidance_scale=args.decoder_guidance_scale,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
