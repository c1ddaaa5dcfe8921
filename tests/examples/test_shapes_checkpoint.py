"""The embedded checkpoint generates images that match test prompts, in Paddle and PyTorch; its training script runs."""

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


def accuracy(images: np.ndarray, scenes: list) -> float:
    """Share of images whose foreground color and shape are those of the prompt."""
    predictions = [shapes.classify(np.rint(image * 255).astype(np.uint8)) for image in images]
    correct = [(a["color"], a["shape"]) == (s.color, s.shape) for a, s in zip(predictions, scenes)]
    return sum(correct) / len(correct)


def generate(pipe, prompts: list[str], generator) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    return pipe(prompts, num_inference_steps=25, guidance_scale=3.0, generator=generator, output_type="np").images


def test_images_match_prompts():
    chosen = [(text, scene) for text, _, scene in shapes.held_out_prompts(32)]  # half Chinese
    pipe = StableDiffusionPipeline.from_pretrained(FOLDER)
    images = generate(pipe, [text for text, _ in chosen], generator=0)
    assert accuracy(images, [scene for _, scene in chosen]) >= 0.9


def test_images_of_diffusers_match_prompts():
    chosen = [(text, scene) for text, _, scene in shapes.held_out_prompts(12)]
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(FOLDER)
    images = generate(pipe, [text for text, _ in chosen], torch.Generator().manual_seed(0))
    assert accuracy(images, [scene for _, scene in chosen]) >= 0.9


def test_checkpoint_is_small_and_complete():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12e6
    index = json.loads((FOLDER / "model_index.json").read_text(encoding="utf-8"))
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        assert index[name][0] in ("diffusers", "transformers") and (FOLDER / name).is_dir()


def test_training_script_runs(tmp_path):
    script = ROOT / "examples" / "training" / "train_shapes_text_to_image.py"
    command = [sys.executable, str(script), "--output_dir", str(tmp_path / "model"), "--tiny", "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=300)
    images = generate(
        diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "model"), ["一个红色的圆形"], torch.Generator()
    )
    assert images.shape == (1, 64, 64, 3)
