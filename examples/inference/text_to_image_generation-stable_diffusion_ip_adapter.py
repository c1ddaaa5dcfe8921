"""文生图：Stable Diffusion 1.x 与 IP-Adapter，由提示词和参考图共同引导，英文提示词。

python examples/inference/text_to_image_generation-stable_diffusion_ip_adapter.py --image 参考图.png
python examples/inference/text_to_image_generation-stable_diffusion_ip_adapter.py --image 人像.png \
    --weight_name ip-adapter-full-face_sd15.safetensors   # 还有 ip-adapter-plus_sd15.safetensors 等
python examples/inference/text_to_image_generation-stable_diffusion_ip_adapter.py --tiny   # 离线试跑，数秒完成

SDXL 用法相同：换成 StableDiffusionXLPipeline，权重在 h94/IP-Adapter 的 sdxl_models 目录。
"""

import argparse
from pathlib import Path

import image_utils

from ppdiffusers import StableDiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runwayml/stable-diffusion-v1-5", help="模型名称或本地目录")
    parser.add_argument("--ip_adapter_model", default="h94/IP-Adapter", help="IP-Adapter 的名称或本地目录")
    parser.add_argument("--subfolder", default="models", help="权重文件所在的子目录，图像编码器在其中的 image_encoder")
    parser.add_argument("--weight_name", default="ip-adapter_sd15.safetensors", help="权重文件名")
    parser.add_argument("--tiny", action="store_true", help="使用随机权重的小模型离线试跑")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / Path(__file__).stem)
    parser.add_argument("--image", type=Path, help="参考图；默认使用示例图像")
    parser.add_argument("--prompt", default="a house in the snow, best quality", help="提示词")
    parser.add_argument("--negative_prompt", help="负向提示词")
    parser.add_argument("--scale", type=float, default=0.6, help="参考图的权重，0 为不使用，1 时提示词作用较小")
    parser.add_argument("--num_inference_steps", type=int, help="推理步数；默认 50，试跑时 3")
    parser.add_argument("--guidance_scale", type=float, default=7.5, help="引导强度，越大越贴近提示词")
    parser.add_argument("--seed", type=int, default=0, help="随机种子，随机数与 PyTorch 一致")
    parser.add_argument("--device", help="运行设备：cpu、gpu 或 gpu:0；默认为 Paddle 的当前设备")
    args = parser.parse_args()
    if args.tiny:
        from tiny import ip_adapter

        args.model, args.ip_adapter_model = ip_adapter.make_base_and_adapter(
            args.output_dir / "tiny", args.subfolder, args.weight_name
        )

    # 加载模型和 IP-Adapter；图像编码器随 IP-Adapter 一起加载
    pipe = StableDiffusionPipeline.from_pretrained(args.model).to(device=args.device)
    pipe.load_ip_adapter(args.ip_adapter_model, subfolder=args.subfolder, weight_name=args.weight_name)
    pipe.set_ip_adapter_scale(args.scale)

    # 生成图像
    image = pipe(
        args.prompt,
        ip_adapter_image=image_utils.load(args.image),
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


if __name__ == "__main__":
    main()
