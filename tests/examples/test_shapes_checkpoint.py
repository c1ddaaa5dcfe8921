"""The embedded checkpoint paints what held-out prompts say, in Paddle and in PyTorch; its recipe runs."""

import json
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch

from examples.training import shapes
from ppdiffusers import StableDiffusionPipeline

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "assets" / "shapes-bilingual"


def share_right(pictures: np.ndarray, scenes: list) -> float:
    """Share of pictures whose dominant foreground colour and shape class are those of the prompt."""
    answers = [shapes.judge(np.rint(picture * 255).astype(np.uint8)) for picture in pictures]
    right = [(a["color"], a["shape"]) == (s.color, s.shape) for a, s in zip(answers, scenes)]
    return sum(right) / len(right)


def paint(pipe, texts: list[str], generator) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    return pipe(texts, num_inference_steps=25, guidance_scale=3.0, generator=generator, output_type="np").images


def test_pictures_match_their_prompts():
    chosen = [(text, scene) for text, _, scene in shapes.held_out_prompts(32)]  # half Chinese
    pipe = StableDiffusionPipeline.from_pretrained(FOLDER)
    pictures = paint(pipe, [text for text, _ in chosen], generator=0)
    assert share_right(pictures, [scene for _, scene in chosen]) >= 0.9


def test_diffusers_paints_from_the_same_folder():
    chosen = [(text, scene) for text, _, scene in shapes.held_out_prompts(12)]
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(FOLDER)
    pictures = paint(pipe, [text for text, _ in chosen], torch.Generator().manual_seed(0))
    assert share_right(pictures, [scene for _, scene in chosen]) >= 0.9


def test_folder_is_small_and_whole():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12e6
    index = json.loads((FOLDER / "model_index.json").read_text(encoding="utf-8"))
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        assert index[name][0] in ("diffusers", "transformers") and (FOLDER / name).is_dir()


def test_recipe_runs_from_beginning_to_end(tmp_path):
    recipe = ROOT / "examples" / "training" / "train_shapes_text_to_image.py"
    command = [sys.executable, str(recipe), "--output_dir", str(tmp_path / "model"), "--tiny", "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=300)
    pictures = paint(
        diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "model"), ["一个红色的圆形"], torch.Generator()
    )
    assert pictures.shape == (1, 64, 64, 3)
