"""文生图：Safe Stable Diffusion（Safe Latent Diffusion），按提示词生成图像，并规避不当内容。

python examples/inference/text_to_image_generation-stable_diffusion_safe.py --prompt "a crowded street" --safety strong
python examples/inference/text_to_image_generation-stable_diffusion_safe.py --model 本地目录   # PyTorch 或 Paddle 权重
python examples/inference/text_to_image_generation-stable_diffusion_safe.py --tiny             # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

from ppdiffusers import SafetyConfig, StableDiffusionPipelineSafe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="AIML-TUDA/stable-diffusion-safe", help="模型名称或本地目录")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="portrait of a warrior, oil painting", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--safety", choices=["weak", "medium", "strong", "max"], default="medium", help="安全引导强度")
    parser.add_argument("--concept", help="需要规避的概念；默认为论文列出的各类不当内容")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数，预热阶段不使用安全引导；默认 50，试跑时 16")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_safe

        args.model = stable_diffusion_safe.make(args.output_dir / "tiny")

    pipe = StableDiffusionPipelineSafe.from_pretrained(args.model).to(device=args.device)
    if args.concept:
        pipe.safety_concept = args.concept

    # 生成图像，四档强度对应五个 sld_ 参数的四组取值
    output = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (16 if args.tiny else 50),
        generator=args.seed,
        **getattr(SafetyConfig, args.safety.upper()),
    )

    # 保存；未通过安全检查的图像为全黑
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    output.images[0].save(path)
    print(f"图像已保存到 {path.resolve()}，安全检查器检测到不当内容：{output.nsfw_content_detected[0]}")


if __name__ == "__main__":
    main()
