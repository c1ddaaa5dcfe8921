"""文生图：安全版 Stable Diffusion（Safe Latent Diffusion）按提示词作画，同时避开不当内容。

python examples/inference/text_to_image_generation-stable_diffusion_safe.py --prompt "a crowded street" --safety strong
python examples/inference/text_to_image_generation-stable_diffusion_safe.py --model 本地目录   # 任一框架的格式
python examples/inference/text_to_image_generation-stable_diffusion_safe.py --tiny             # 离线试跑，几秒即完
"""

import argparse
from pathlib import Path

from ppdiffusers import SafetyConfig, StableDiffusionPipelineSafe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="AIML-TUDA/stable-diffusion-safe", help="模型名或本地目录")
    parser.add_argument("--tiny", action="store_true", help="用随机小模型试跑，不联网")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="portrait of a warrior, oil painting", help="想画的内容")
    parser.add_argument("--negative_prompt", help="不想看到的内容")
    parser.add_argument("--safety", choices=["weak", "medium", "strong", "max"], default="medium", help="避开的力度")
    parser.add_argument("--concept", help="要避开什么；默认是论文列出的各种不当内容")
    parser.add_argument("--num_inference_steps", type=int, help="去噪步数，头几步不加安全引导；默认 50，试跑时 16")
    parser.add_argument("--seed", type=int, default=0, help="与 PyTorch 相同的随机数流")
    parser.add_argument("--device", help="cpu、gpu 或 gpu:0；默认用 Paddle 当前的设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import stable_diffusion_safe

        args.model = stable_diffusion_safe.make(args.output_dir / "tiny")

    pipe = StableDiffusionPipelineSafe.from_pretrained(args.model).to(device=args.device)
    if args.concept:
        pipe.safety_concept = args.concept

    # 作画：四档力度就是五个 sld_ 参数的四组取值
    output = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (16 if args.tiny else 50),
        generator=args.seed,
        **getattr(SafetyConfig, args.safety.upper()),
    )

    # 保存；被检查器拦下的图片是全黑的
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    output.images[0].save(path)
    print(f"图片已写到 {path.resolve()}，检查器认为不当：{output.nsfw_content_detected[0]}")


if __name__ == "__main__":
    main()
