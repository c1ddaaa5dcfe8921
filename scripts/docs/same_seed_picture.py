"""Paint docs/images/same_seed.png: pairs of pictures with the same prompt, sampler and seed, diffusers on the left.

pip install -e '.[cpu,verify]'
python scripts/docs/same_seed_picture.py
"""

import argparse
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image, ImageDraw

import ppdiffusers

ROOT = Path(__file__).parents[2]
PAIRS = (  # prompt, scheduler and what is changed in its configuration, arguments of the call, seed
    ("a red circle on a white background", "DDIMScheduler", {}, {"eta": 1.0}, 0),
    ("一个蓝色的三角形，黄色背景", "EulerAncestralDiscreteScheduler", {}, {}, 1),
    ("a green square on a black background", "DDPMScheduler", {}, {}, 2),
    ("一个红色的圆形，白色背景", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}, 3),
)
SIDE, GAP, LINE = 160, 8, 14  # pixels: of a picture, between pictures, of a line of text


def paint(library, checkpoint: Path, seeded, steps: int) -> list[Image.Image]:
    """One picture for each of `PAIRS`; `seeded(seed)` makes the library's generator."""
    pipe = library.StableDiffusionPipeline.from_pretrained(str(checkpoint))
    pipe.set_progress_bar_config(disable=True)
    images = []
    for prompt, scheduler, changes, arguments, seed in PAIRS:
        pipe.scheduler = getattr(library, scheduler).from_config(pipe.scheduler.config, **changes)
        images += pipe(prompt, num_inference_steps=steps, generator=seeded(seed), **arguments).images
    return images


def sheet(left: list[Image.Image], right: list[Image.Image]) -> Image.Image:
    """Two pairs a row, each under its sampler and seed."""
    width, height = 2 * SIDE + GAP, SIDE + 2 * LINE
    rows = -(-len(left) // 2)
    page = Image.new("RGB", (2 * width + 3 * GAP, rows * (height + GAP) + GAP), "white")
    draw = ImageDraw.Draw(page)
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        x, y = GAP + index % 2 * (width + GAP), GAP + index // 2 * (height + GAP)
        _, scheduler, _, _, seed = PAIRS[index]
        draw.text((x, y), f"{scheduler.removesuffix('Scheduler')}, seed {seed}", fill="black")
        for offset, image, library in ((0, a, "diffusers"), (SIDE + GAP, b, "ppdiffusers")):
            draw.text((x + offset, y + LINE), library, fill="gray")
            page.paste(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x + offset, y + 2 * LINE))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "examples" / "assets" / "shapes-bilingual")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "same_seed.png")
    parser.add_argument("--steps", type=int, default=25)
    arguments = parser.parse_args()

    left = paint(diffusers, arguments.checkpoint, lambda seed: torch.Generator().manual_seed(seed), arguments.steps)
    right = paint(ppdiffusers, arguments.checkpoint, ppdiffusers.TorchGenerator, arguments.steps)
    for (_, scheduler, *_), a, b in zip(PAIRS, left, right, strict=True):
        levels = np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int))
        print(
            f"{scheduler}: {100 * (levels == 0).mean():.2f} % of the channels equal, largest difference {levels.max()}"
        )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet(left, right).save(arguments.output, optimize=True)
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
