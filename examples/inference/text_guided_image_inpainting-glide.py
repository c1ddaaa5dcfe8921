"""文本引导的图像修复：GLIDE。按提示词重新生成掩码区域，已知像素在两个阶段都保持不变。

先从 OpenAI 的 glide-text2im 仓库下载 base_inpaint.pt、upsample_inpaint.pt 和分词器的 vocab.bpe.gz，
放到同一个目录，再转换：
ppdiffusers convert --from glide --pretrained_model_name_or_path ./glide-files --output_path ./glide-inpaint
python examples/inference/text_guided_image_inpainting-glide.py --model ./glide-inpaint --image 图.png --mask 掩码.png
python examples/inference/text_guided_image_inpainting-glide.py --tiny   # 离线试跑，数秒完成
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import GlideInpaintPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="openai/glide-text2im", help="转换后的本地目录，或模型名称")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="待修复的图像；默认使用示例图像")
    parser.add_argument("--mask", type=Path, help="掩码图像，白色为修复区域；默认使用示例掩码")
    parser.add_argument("--prompt", default="a corgi in a field", help="掩码区域的提示词（英文）")
    parser.add_argument("--guidance_scale", type=float, default=5.0, help="基础模型的引导强度")
    parser.add_argument("--respacing", help="基础模型的时间步：步数、ddim50 或 10,5,2 等；默认 100，试跑时 3")
    parser.add_argument("--upsampler_respacing", help="超分辨率模型的时间步；默认 fast27，试跑时 ddim2")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import glide

        args.model = glide.make_inpaint(args.output_dir / "tiny")

    # 加载模型、图像和掩码
    pipe = GlideInpaintPipeline.from_pretrained(args.model).to(device=args.device)
    size = pipe.upsampler.config.sample_size
    source, mask = image_utils.load(args.image, size, size), image_utils.load_mask(args.mask, size, size)

    # 修复图像
    image = pipe(
        args.prompt,
        image=source,
        mask_image=mask,
        guidance_scale=args.guidance_scale,
        respacing=args.respacing or ("3" if args.tiny else "100"),
        upsampler_respacing=args.upsampler_respacing or ("ddim2" if args.tiny else "fast27"),
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
