"""示例脚本的输入图像和掩码：从文件读取，或使用内置的示例图像（离线可用）。"""

from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 512  # 示例图像的边长（像素）


def load(path: str | Path | None, width: int = SIZE, height: int = SIZE) -> Image.Image:
    """读取图像（`path` 为 None 时使用示例图像），缩放到 `width` x `height`。"""
    image = _example() if path is None else Image.open(path).convert("RGB")
    return image.resize((width, height), Image.Resampling.LANCZOS)


def load_mask(path: str | Path | None, width: int = SIZE, height: int = SIZE) -> Image.Image:
    """读取掩码（`path` 为 None 时使用示例掩码，白色为修复区域），缩放到 `width` x `height`。"""
    mask = _example_mask() if path is None else Image.open(path).convert("L")
    return mask.resize((width, height), Image.Resampling.NEAREST)


def _example() -> Image.Image:
    """草地上的小屋。"""
    image = Image.new("RGB", (SIZE, SIZE), "skyblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 340, SIZE, SIZE), fill="olivedrab")
    draw.ellipse((390, 40, 470, 120), fill="gold")
    draw.polygon(((130, 240), (250, 140), (370, 240)), fill="firebrick")
    draw.rectangle((160, 240, 340, 400), fill="wheat")
    draw.rectangle((220, 310, 280, 400), fill="saddlebrown")
    return image


def _example_mask() -> Image.Image:
    """覆盖小屋的矩形。"""
    mask = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(mask).rectangle((120, 130, 380, 410), fill=255)
    return mask
