"""演示：把随仓库附带的 PyTorch 权重转换成 Paddle 权重，再用中文和英文提示词各画几张图。

    python examples/demo.py                       # 图片写到 outputs/demo/
    python examples/demo.py --prompt "一个蓝色的三角形，黄色背景"

整个过程不需要 torch，也不访问任何模型仓库。
"""

import argparse
from pathlib import Path

from ppdiffusers import StableDiffusionPipeline, convert_diffusers_to_paddle

CHECKPOINT = Path(__file__).parent / "assets" / "shapes-bilingual"
PROMPTS = (
    "一个红色的圆形，白色背景",
    "a blue triangle on a white background",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/demo"))
    parser.add_argument("--prompt", nargs="+", default=PROMPTS, help="想画的内容，可以给多句")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance_scale", type=float, default=3.0, help="越大越听提示词的话")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    # 第一步：PyTorch 文件夹 -> Paddle 文件夹（逐位精确，带进度条和汇总表）
    paddle_folder = args.output_dir / "shapes-bilingual-paddle"
    print(convert_diffusers_to_paddle(CHECKPOINT, paddle_folder, overwrite=True))

    # 第二步：从转换后的文件夹作画；generator=整数 表示与 PyTorch 相同的随机数流
    pipe = StableDiffusionPipeline.from_pretrained(paddle_folder)
    paths = []
    for index, prompt in enumerate(args.prompt):
        result = pipe(prompt, num_inference_steps=args.steps, guidance_scale=args.guidance_scale, generator=args.seed)
        image = result.images[0]
        path = (args.output_dir / f"{index}-{prompt.replace(' ', '-')}.png").resolve()
        image.resize((256, 256), resample=0).save(path)  # 原图 64x64，放大便于观看
        paths.append(path)

    print("图片已写好 / Pictures written:")
    for prompt, path in zip(args.prompt, paths, strict=True):
        print(f"  {prompt}\n    {path}")


if __name__ == "__main__":
    main()
