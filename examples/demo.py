"""演示：将仓库附带的 PyTorch 权重转换为 Paddle 权重，再用中文和英文提示词生成图像。

    python examples/demo.py                       # 图像保存到 outputs/demo/
    python examples/demo.py --prompt "一个蓝色的三角形，黄色背景"

全过程不需要 torch，也不访问任何模型库。
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
    parser.add_argument("--prompt", nargs="+", default=PROMPTS, help="提示词，可以指定多个")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance_scale", type=float, default=3.0, help="引导强度，越大越贴近提示词")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    # 第一步：转换 PyTorch 检查点为 Paddle 格式（逐位精确，输出进度条和汇总表）
    paddle_folder = args.output_dir / "shapes-bilingual-paddle"
    print(convert_diffusers_to_paddle(CHECKPOINT, paddle_folder, overwrite=True))

    # 第二步：加载转换后的检查点并生成图像；generator=整数 表示随机数与 PyTorch 一致
    pipe = StableDiffusionPipeline.from_pretrained(paddle_folder)
    paths = []
    for index, prompt in enumerate(args.prompt):
        result = pipe(prompt, num_inference_steps=args.steps, guidance_scale=args.guidance_scale, generator=args.seed)
        image = result.images[0]
        path = (args.output_dir / f"{index}-{prompt.replace(' ', '-')}.png").resolve()
        image.resize((256, 256), resample=0).save(path)  # 原图为 64x64，放大以便查看
        paths.append(path)

    print("生成的图像 / Generated images:")
    for prompt, path in zip(args.prompt, paths, strict=True):
        print(f"  {prompt}\n    {path}")


if __name__ == "__main__":
    main()
