"""示例脚本的输入图片：给了路径就读取，没给就画一张，离线也能试。"""

from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 512


def load(path: str | Path | None, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """读取 `path`，没有就画一张小屋图；缩放到 `width` x `height`。"""
    picture = _house() if path is None else Image.open(path).convert("RGB")
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def load_mask(path: str | Path | None, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """读取遮罩 `path`（白色处重画），没有就遮住小屋；缩放到 `width` x `height`。"""
    mask = _house_mask() if path is None else Image.open(path).convert("L")
    return mask.resize((width, height), Image.Resampling.NEAREST)


def _house() -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), "skyblue")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 340, SIDE, SIDE), fill="olivedrab")
    draw.ellipse((390, 40, 470, 120), fill="gold")
    draw.polygon(((130, 240), (250, 140), (370, 240)), fill="firebrick")
    draw.rectangle((160, 240, 340, 400), fill="wheat")
    draw.rectangle((220, 310, 280, 400), fill="saddlebrown")
    return picture


def _house_mask() -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(mask).rectangle((120, 130, 380, 410), fill=255)
    return mask
