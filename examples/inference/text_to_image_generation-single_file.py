"""文生图：由单个 .safetensors 或 .ckpt 文件加载 Stable Diffusion，即模型分享站、web UI 和 ComfyUI 使用的格式。

python examples/inference/text_to_image_generation-single_file.py --file dreamshaper_8.safetensors
python examples/inference/text_to_image_generation-single_file.py --file sd_xl_base_1.0.safetensors --prompt "一只猫"
python examples/inference/text_to_image_generation-single_file.py --tiny   # 离线试跑，数秒完成

模型种类由文件中的张量识别：SD 1.x、SD 2.x、SDXL 等。已发布模型的配置和分词器随 ppdiffusers 提供，无需联网；
结构不同的模型用 --config 指定含配置的目录。`ppdiffusers info 文件` 可查看文件是什么模型、用什么加载。
"""

import argparse
from pathlib import Path

from ppdiffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from ppdiffusers.conversion.describe import describe_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="权重文件：.safetensors、.ckpt、.pt 或 .bin")
    parser.add_argument("--config", help="含配置和分词器的本地目录或模型名称；默认按识别出的模型使用内置配置")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--prompt", default="a photo of an astronaut riding a horse on mars", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="引导强度，越大越贴近提示词")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    parser.add_argument("--save_single_file", action="store_true", help="将加载的模型再保存为单个文件")
    args = parser.parse_args()
    if args.tiny:
        from tiny import single_file

        args.file, args.config = single_file.save(args.output_dir / "tiny")
    if args.file is None:
        parser.error("请用 --file 指定权重文件，或用 --tiny 试跑")

    # 识别模型种类；只读取文件头，不读取权重
    found = describe_file(args.file)
    print(f"{args.file.name}：{found.base_model}，{'、'.join(found.dtypes)}，{found.parameters:,} 个参数")

    # 加载
    if found.base_model != "Stable Diffusion XL":
        pipe = StableDiffusionPipeline.from_single_file(args.file, config=args.config)
    else:
        pipe = StableDiffusionXLPipeline.from_single_file(args.file, config=args.config)
    pipe.to(device=args.device)

    # 生成图像
    image = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_inference_steps=args.num_inference_steps or (3 if args.tiny else 50),
        guidance_scale=args.guidance_scale,
        generator=args.seed,
    ).images[0]

    # 保存
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / "image.png"
    image.save(path)
    print(f"图像已保存到 {path.resolve()}")
    if args.save_single_file:
        path = args.output_dir / "model.safetensors"
        pipe.save_single_file(path)
        print(f"单文件权重已保存到 {path.resolve()}")


if __name__ == "__main__":
    main()
