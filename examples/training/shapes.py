"""几何图形数据集：绘制图像、生成描述、划分测试组合，以及不依赖模型的分类器。

只依赖标准库、numpy 和 Pillow，不安装 torch 也能导入。增加颜色、图形或描述模板，只需修改下面的表。
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64  # 图像边长

# 名称 -> (RGB, 中文, 英文)
COLORS = {
    "red": ((220, 30, 40), "红色", "red"),
    "yellow": ((250, 225, 40), "黄色", "yellow"),
    "green": ((30, 150, 60), "绿色", "green"),
    "cyan": ((20, 190, 200), "青色", "cyan"),
    "blue": ((30, 70, 210), "蓝色", "blue"),
    "purple": ((150, 45, 190), "紫色", "purple"),
}
BACKGROUNDS = {
    "white": ((245, 245, 245), "白色", "white"),
    "black": ((20, 20, 20), "黑色", "black"),
    "gray": ((128, 128, 128), "灰色", "gray"),
    "beige": ((235, 215, 180), "米色", "beige"),
}
# 名称 -> (中文, 英文)
SHAPES = {
    "circle": ("圆形", "circle"),
    "square": ("正方形", "square"),
    "triangle": ("三角形", "triangle"),
    "star": ("五角星", "star"),
}
SIZES = {"": ("", ""), "small": ("小", "small"), "big": ("大", "big")}
RADII = {"": (14, 20), "small": (12, 15), "big": (19, 23)}

# 每种语言的描述模板。
TEMPLATES = {
    "zh": (
        "一个{color}的{size}{shape}，{background}背景",
        "{background}背景上的一个{color}{size}{shape}",
        "{color}{size}{shape}，{background}背景",
        "画一个{color}的{size}{shape}，背景是{background}",
    ),
    "en": (
        "a {size} {color} {shape} on a {background} background",
        "{size} {color} {shape}, {background} background",
        "a picture of a {size} {color} {shape} on {background}",
        "on a {background} background, a {size} {color} {shape}",
    ),
}


@dataclass(frozen=True)
class Scene:
    """图像的内容，用于绘制图像和生成描述。"""

    color: str
    shape: str
    background: str
    size: str = ""


def combinations():
    """返回全部（颜色，图形，背景）组合。"""
    return list(itertools.product(COLORS, SHAPES, BACKGROUNDS))


def is_held_out(color, shape, background):
    """判断组合是否属于测试集。测试集约占八分之一；每种颜色、图形和背景在训练集与测试集中都出现。"""
    c, s, b = list(COLORS).index(color), list(SHAPES).index(shape), list(BACKGROUNDS).index(background)
    return (c + 2 * s + 3 * b) % 8 == 0


def train_combinations():
    return [c for c in combinations() if not is_held_out(*c)]


def held_out_combinations():
    return [c for c in combinations() if is_held_out(*c)]


def captions(scene, language):
    """返回一个场景在指定语言下的全部描述。"""
    i = 0 if language == "zh" else 1
    words = {
        "color": COLORS[scene.color][1 + i],
        "background": BACKGROUNDS[scene.background][1 + i],
        "shape": SHAPES[scene.shape][i],
        "size": SIZES[scene.size][i],
    }
    texts = [t.format(**words) for t in TEMPLATES[language]]
    return [" ".join(t.split()) for t in texts]  # 大小为空时会多出一个空格


def random_scene(rng, combos):
    """随机选择场景；一半的场景不指定大小。"""
    return Scene(*rng.choice(combos), size=rng.choice(["", "", "small", "big"]))


def outline(shape, cx, cy, r):
    """返回图形的多边形顶点；r 相同时各图形的大小相近。"""
    if shape == "square":
        h = r * 0.88
        return [(cx - h, cy - h), (cx + h, cy - h), (cx + h, cy + h), (cx - h, cy + h)]
    if shape == "triangle":
        return [(cx, cy - r), (cx + r * 1.05, cy + r * 0.85), (cx - r * 1.05, cy + r * 0.85)]
    if shape == "star":
        points = []
        for k in range(10):
            radius = r * (1.15 if k % 2 == 0 else 0.46)
            angle = math.pi * (k / 5 - 0.5)
            points.append((cx + radius * math.cos(angle), cy + 0.06 * r + radius * math.sin(angle)))
        return points
    if shape == "circle":
        return [(cx + r * math.cos(2 * math.pi * k / 60), cy + r * math.sin(2 * math.pi * k / 60)) for k in range(60)]
    raise ValueError(f"不支持的图形：{shape}")


def draw_mask(shape, cx, cy, r, scale=4):
    """绘制抗锯齿的图形掩码，取值 0 到 1：先放大 scale 倍绘制，再缩小。"""
    image = Image.new("L", (SIZE * scale, SIZE * scale), 0)
    points = [(x * scale, y * scale) for x, y in outline(shape, cx, cy, r)]
    ImageDraw.Draw(image).polygon(points, fill=255)
    return np.asarray(image.reduce(scale), dtype=np.float32) / 255


def draw(scene, rng):
    """绘制 uint8 图像 [H, W, 3]，大小、位置和颜色带有随机扰动。"""
    low, high = RADII[scene.size]
    r = rng.uniform(low, high)
    cx, cy = (SIZE / 2 + rng.uniform(-2, 2) for _ in range(2))
    mask = draw_mask(scene.shape, cx, cy, r)[..., None]
    front, back = (
        np.array([v + rng.uniform(-8, 8) for v in table[name][0]], dtype=np.float32)
        for table, name in ((COLORS, scene.color), (BACKGROUNDS, scene.background))
    )
    image = back + (front - back) * mask
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


# ---- 基于像素的分类器，不依赖模型 ----

GRID = 32  # 比较前将图形的外接框缩放到此尺寸


def _normalize(mask):
    """裁剪到外接框并缩放为 GRID x GRID，使比较不受大小和位置影响。"""
    ys, xs = np.where(mask > 0.5)
    box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    image = Image.fromarray((mask * 255).astype(np.uint8)).crop(box)
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BILINEAR), dtype=np.float32) / 255


def _templates():
    return {s: _normalize(draw_mask(s, SIZE / 2, SIZE / 2, 18)) for s in SHAPES}


def nearest(color, table):
    """返回表中最接近的颜色名称。"""
    return min(table, key=lambda name: float(np.abs(np.asarray(table[name][0], np.float32) - color).sum()))


def classify(image):
    """对 uint8 图像 [64, 64, 3] 分类，返回 {"color", "shape", "background"}；没有图形时前两项为 None。"""
    image = np.asarray(image, dtype=np.float32)
    border = np.concatenate([image[:2].reshape(-1, 3), image[-2:].reshape(-1, 3)])
    border = np.concatenate([border, image[:, :2].reshape(-1, 3), image[:, -2:].reshape(-1, 3)])
    back = np.median(border, axis=0)
    answer = {"color": None, "shape": None, "background": nearest(back, BACKGROUNDS)}

    distance = np.abs(image - back).sum(-1)
    sure = distance > 0.5 * np.percentile(distance, 99.5)
    if distance.max() < 60 or sure.sum() < 40:
        return answer
    front = np.median(image[sure], axis=0)
    answer["color"] = nearest(front, COLORS)

    # 掩码的值为像素在背景色到前景色连线上的投影。
    step = front - back
    mask = np.clip((image - back) @ step / (step @ step), 0, 1)
    mask = _largest_part(mask)
    seen = _normalize(mask)
    answer["shape"] = min(TEMPLATE_MASKS, key=lambda s: float(np.abs(TEMPLATE_MASKS[s] - seen).mean()))
    return answer


def _largest_part(mask):
    """只保留最大的连通区域，避免噪点影响外接框。"""
    inside = mask > 0.5
    label = np.zeros(mask.shape, np.int32)
    count, best, best_size = 0, 0, 0
    for start in zip(*np.nonzero(inside), strict=True):
        if label[start]:
            continue
        count += 1
        label[start] = count
        todo, size = [start], 0
        while todo:
            y, x = todo.pop()
            size += 1
            for p in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= p[0] < SIZE and 0 <= p[1] < SIZE and inside[p] and not label[p]:
                    label[p] = count
                    todo.append(p)
        if size > best_size:
            best, best_size = count, size
    return np.where(label == best, mask, 0)


TEMPLATE_MASKS = _templates()


def held_out_prompts(count, seed=0):
    """返回 count 条测试集描述，中英文各一半：[(描述, 语言, 场景)]。"""
    rng = random.Random(seed)
    combos = held_out_combinations()
    rng.shuffle(combos)
    prompts = []
    for i in range(count):
        language = "zh" if i % 2 == 0 else "en"
        # 每轮交换语言，使同一组合的两种语言都出现
        combo = combos[(i + i // len(combos)) % len(combos)]
        scene = Scene(*combo, size=rng.choice(["", "", "small", "big"]))
        prompts.append((rng.choice(captions(scene, language)), language, scene))
    return prompts
