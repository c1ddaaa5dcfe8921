"""文生图：DeepFloyd IF（Imagen）。T5 编码提示词，第一阶段在像素空间生成 64 x 64 的小图，第二阶段放大到 256 x 256。

python examples/inference/text_to_image_generation-deepfloyd_if.py --prompt "a photo of a kangaroo"
python examples/inference/text_to_image_generation-deepfloyd_if.py --model 目录 --upscaler_model 目录
python examples/inference/text_to_image_generation-deepfloyd_if.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import IFPipeline, IFSuperResolutionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="DeepFloyd/IF-I-XL-v1.0", help="第一阶段：模型名称或本地目录")
    parser.add_argument("--upscaler_model", default="DeepFloyd/IF-II-L-v1.0", help="第二阶段：模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a photo of a kangaroo wearing an orange hoodie", help="提示词（英文）")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--num_inference_steps", type=int, help="每个阶段的步数；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.0, help="第一阶段的引导强度")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import deepfloyd_if

        args.model, args.upscaler_model = deepfloyd_if.make_cascade(args.output_dir / "tiny")

    # 加载两个阶段；提示词只编码一次，因此第二阶段不加载文本编码器
    pipe = IFPipeline.from_pretrained(args.model).to(device=args.device)
    upscaler = IFSuperResolutionPipeline.from_pretrained(args.upscaler_model, text_encoder=None)
    upscaler.to(device=args.device)
    prompt_embeds, negative_embeds = pipe.encode_prompt(args.prompt, negative_prompt=args.negative_prompt)
    settings = {
        "prompt_embeds": prompt_embeds,
        "negative_prompt_embeds": negative_embeds,
        "num_inference_steps": args.num_inference_steps or (3 if args.tiny else 50),
        "generator": args.seed,
    }

    # 第一阶段输出张量，取值 -1 到 1，直接作为第二阶段的输入
    small = pipe(**settings, guidance_scale=args.guidance_scale, output_type="pd").images
    image = upscaler(**settings, image=small).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
