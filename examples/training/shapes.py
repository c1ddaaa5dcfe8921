"""小图形数据：画图、写说明、留出测试组合，以及一个不用任何模型的“裁判”。

这里只用标准库、numpy 和 Pillow，所以测试不装 torch 也能导入。
要加颜色、图形或说法，改下面几张表就够了。
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64  # 图片边长

# 名字 -> (RGB, 中文, 英文)
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
# 名字 -> (中文, 英文)
SHAPES = {
    "circle": ("圆形", "circle"),
    "square": ("正方形", "square"),
    "triangle": ("三角形", "triangle"),
    "star": ("五角星", "star"),
}
SIZES = {"": ("", ""), "small": ("小", "small"), "big": ("大", "big")}
RADII = {"": (14, 20), "small": (12, 15), "big": (19, 23)}

# 每种语言的几种说法。
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
    """一张图里有什么；说明和画面都由它生成。"""

    color: str
    shape: str
    background: str
    size: str = ""


def combinations():
    """全部（颜色，图形，背景）组合。"""
    return list(itertools.product(COLORS, SHAPES, BACKGROUNDS))


def is_held_out(color, shape, background):
    """约八分之一的组合不参加训练；每种颜色、图形、背景在留出部分和训练部分都出现。"""
    c, s, b = list(COLORS).index(color), list(SHAPES).index(shape), list(BACKGROUNDS).index(background)
    return (c + 2 * s + 3 * b) % 8 == 0


def train_combinations():
    return [c for c in combinations() if not is_held_out(*c)]


def held_out_combinations():
    return [c for c in combinations() if is_held_out(*c)]


def captions(scene, language):
    """一个场景在一种语言里的全部说法。"""
    i = 0 if language == "zh" else 1
    words = {
        "color": COLORS[scene.color][1 + i],
        "background": BACKGROUNDS[scene.background][1 + i],
        "shape": SHAPES[scene.shape][i],
        "size": SIZES[scene.size][i],
    }
    texts = [t.format(**words) for t in TEMPLATES[language]]
    return [" ".join(t.split()) for t in texts]  # 没有大小词时会多一个空格


def random_scene(rng, combos):
    """大小词一半时候不出现。"""
    return Scene(*rng.choice(combos), size=rng.choice(["", "", "small", "big"]))


def outline(shape, cx, cy, r):
    """图形的多边形顶点。各图形的 r 大致表示同样大小。"""
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
    raise ValueError(f"不认识的图形：{shape}")


def draw_mask(shape, cx, cy, r, scale=4):
    """抗锯齿的图形遮罩，0 到 1。先画大 scale 倍，再缩小。"""
    image = Image.new("L", (SIZE * scale, SIZE * scale), 0)
    points = [(x * scale, y * scale) for x, y in outline(shape, cx, cy, r)]
    ImageDraw.Draw(image).polygon(points, fill=255)
    return np.asarray(image.reduce(scale), dtype=np.float32) / 255


def draw(scene, rng):
    """画一张 uint8 图。大小、位置和颜色都有一点随机。"""
    low, high = RADII[scene.size]
    r = rng.uniform(low, high)
    cx, cy = (SIZE / 2 + rng.uniform(-2, 2) for _ in range(2))
    mask = draw_mask(scene.shape, cx, cy, r)[..., None]
    front, back = (
        np.array([v + rng.uniform(-8, 8) for v in table[name][0]], dtype=np.float32)
        for table, name in ((COLORS, scene.color), (BACKGROUNDS, scene.background))
    )
    picture = back + (front - back) * mask
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


# ---- 裁判：只看像素，不用模型 ----

GRID = 32  # 把图形的外框缩放到这么大再比较


def _normalize(mask):
    """裁到外框并缩放成 GRID x GRID，这样大小和位置都不影响比较。"""
    ys, xs = np.where(mask > 0.5)
    box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    image = Image.fromarray((mask * 255).astype(np.uint8)).crop(box)
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BILINEAR), dtype=np.float32) / 255


def _templates():
    return {s: _normalize(draw_mask(s, SIZE / 2, SIZE / 2, 18)) for s in SHAPES}


def nearest(color, table):
    """表里离得最近的颜色名。"""
    return min(table, key=lambda name: float(np.abs(np.asarray(table[name][0], np.float32) - color).sum()))


def judge(picture):
    """看一张 64x64 的 uint8 图，回答 {"color", "shape", "background"}；看不出图形时前两项是 None。"""
    picture = np.asarray(picture, dtype=np.float32)
    border = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    border = np.concatenate([border, picture[:, :2].reshape(-1, 3), picture[:, -2:].reshape(-1, 3)])
    back = np.median(border, axis=0)
    answer = {"color": None, "shape": None, "background": nearest(back, BACKGROUNDS)}

    distance = np.abs(picture - back).sum(-1)
    sure = distance > 0.5 * np.percentile(distance, 99.5)
    if distance.max() < 60 or sure.sum() < 40:
        return answer
    front = np.median(picture[sure], axis=0)
    answer["color"] = nearest(front, COLORS)

    # 像素在“背景色到前景色”这条线上走了多远，就是遮罩的值。
    step = front - back
    mask = np.clip((picture - back) @ step / (step @ step), 0, 1)
    mask = _largest_part(mask)
    seen = _normalize(mask)
    answer["shape"] = min(TEMPLATE_MASKS, key=lambda s: float(np.abs(TEMPLATE_MASKS[s] - seen).mean()))
    return answer


def _largest_part(mask):
    """只留最大的连通块，零星噪点不会撑大外框。"""
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
    """count 条留出组合的说明，中英文各一半：[(说明, 语言, 场景)]。"""
    rng = random.Random(seed)
    combos = held_out_combinations()
    rng.shuffle(combos)
    prompts = []
    for i in range(count):
        language = "zh" if i % 2 == 0 else "en"
        # 隔一轮换一次语言，使同一组合的两种语言都出现
        combo = combos[(i + i // len(combos)) % len(combos)]
        scene = Scene(*combo, size=rng.choice(["", "", "small", "big"]))
        prompts.append((rng.choice(captions(scene, language)), language, scene))
    return prompts
