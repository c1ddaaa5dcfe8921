"""Stable Diffusion 1.x 与 IP-Adapter 的小模型。"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ppdiffusers import StableDiffusionPipeline, UNet2DConditionModel
from tiny import parts, stable_diffusion

TOKENS = 4  # 每张参考图的 token 数


def _tensors(unet: UNet2DConditionModel) -> dict[str, np.ndarray]:
    """IP-Adapter 文件的内容：图像投影层，以及每个交叉注意力层的键和值；线性层的布局与 PyTorch 相同。"""
    shapes = {"image_proj.proj.weight": (TOKENS * parts.WIDTH, parts.WIDTH)}
    # 文件中的序号依次为下采样、上采样、中间各层
    for number, name in enumerate(sorted(unet.attn_processors, key=lambda name: name.startswith("mid_block"))):
        if "attn2" in name:
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for key in ("to_k_ip", "to_v_ip"):
                shapes[f"ip_adapter.{number}.{key}.weight"] = (layer.inner_dim, parts.WIDTH)
    random = np.random.default_rng(0)
    scale = parts.WIDTH**-0.5
    tensors = {name: scale * random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    return {
        **tensors,
        "image_proj.proj.bias": np.zeros(TOKENS * parts.WIDTH, np.float32),
        "image_proj.norm.weight": np.ones(parts.WIDTH, np.float32),
        "image_proj.norm.bias": np.zeros(parts.WIDTH, np.float32),
    }


def make_base_and_adapter(folder: Path, subfolder: str, weight_name: str) -> tuple[Path, Path]:
    """将基础模型和 IP-Adapter 保存到 `folder` 的子目录 base 和 adapter，返回这两个目录。

    adapter 的结构与 h94/IP-Adapter 相同：`subfolder` 中有权重文件和图像编码器。
    """
    pipe = StableDiffusionPipeline(**stable_diffusion.components())
    pipe.save_pretrained(folder / "base")
    target = folder / "adapter" / subfolder
    parts.image_encoder().save_pretrained(target / "image_encoder")
    save_file(_tensors(pipe.unet), target / weight_name)
    return folder / "base", folder / "adapter"
