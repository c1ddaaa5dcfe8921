"""Generate docs/images/same_seed.png: pairs of images with the same prompt, scheduler and seed, diffusers on the left.

pip install -e '.[cpu,verify]'
python scripts/docs/same_seed_image.py
"""

import argparse
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image, ImageDraw

import ppdiffusers

ROOT = Path(__file__).parents[2]
PAIRS = (  # prompt, scheduler, changes of its configuration, arguments of the call, seed
    ("a red circle on a white background", "DDIMScheduler", {}, {"eta": 1.0}, 0),
    ("一个蓝色的三角形，黄色背景", "EulerAncestralDiscreteScheduler", {}, {}, 1),
    ("a green square on a black background", "DDPMScheduler", {}, {}, 2),
    ("一个红色的圆形，白色背景", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}, 3),
)
IMAGE_SIZE, GAP, LINE = 160, 8, 14  # pixels: of an image, between images, of a line of text


def generate(library, checkpoint: Path, seeded, steps: int) -> list[Image.Image]:
    """Generate one image for each of `PAIRS`; `seeded(seed)` creates a generator of the library."""
    pipe = library.StableDiffusionPipeline.from_pretrained(str(checkpoint))
    pipe.set_progress_bar_config(disable=True)
    images = []
    for prompt, scheduler, changes, arguments, seed in PAIRS:
        pipe.scheduler = getattr(library, scheduler).from_config(pipe.scheduler.config, **changes)
        images += pipe(prompt, num_inference_steps=steps, generator=seeded(seed), **arguments).images
    return images


def contact_sheet(left: list[Image.Image], right: list[Image.Image]) -> Image.Image:
    """Arrange two pairs in each row, with the scheduler and the seed above them."""
    width, height = 2 * IMAGE_SIZE + GAP, IMAGE_SIZE + 2 * LINE
    rows = -(-len(left) // 2)
    page = Image.new("RGB", (2 * width + 3 * GAP, rows * (height + GAP) + GAP), "white")
    draw = ImageDraw.Draw(page)
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        x, y = GAP + index % 2 * (width + GAP), GAP + index // 2 * (height + GAP)
        _, scheduler, _, _, seed = PAIRS[index]
        draw.text((x, y), f"{scheduler.removesuffix('Scheduler')}, seed {seed}", fill="black")
        for offset, image, library in ((0, a, "diffusers"), (IMAGE_SIZE + GAP, b, "ppdiffusers")):
            draw.text((x + offset, y + LINE), library, fill="gray")
            page.paste(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.NEAREST), (x + offset, y + 2 * LINE))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "examples" / "assets" / "shapes-bilingual")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "same_seed.png")
    parser.add_argument("--steps", type=int, default=25)
    arguments = parser.parse_args()

    left = generate(diffusers, arguments.checkpoint, lambda seed: torch.Generator().manual_seed(seed), arguments.steps)
    right = generate(ppdiffusers, arguments.checkpoint, ppdiffusers.TorchGenerator, arguments.steps)
    for (_, scheduler, *_), a, b in zip(PAIRS, left, right, strict=True):
        levels = np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int))
        equal = 100 * (levels == 0).mean()
        print(f"{scheduler}: {equal:.2f} % of the channels are equal, the largest difference is {levels.max()}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(left, right).save(arguments.output, optimize=True)
    print(f"Saved to {arguments.output}")


if __name__ == "__main__":
    main()
