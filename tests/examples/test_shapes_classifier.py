"""The classifier of the shapes dataset is accurate on images of known content."""

import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from examples.training import shapes


def draw_all(size: str) -> list:
    rng = random.Random(1)
    scenes = [shapes.Scene(*combination, size=size) for combination in shapes.combinations()]
    return [(scene, shapes.draw(scene, rng)) for scene in scenes]


def damaged(image: np.ndarray, how: str) -> np.ndarray:
    if how == "blurred":
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.0)))
    if how == "noisy":
        noise = np.random.default_rng(0).normal(0, 8, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


@pytest.mark.parametrize("how", ["clean", "blurred", "noisy"])
@pytest.mark.parametrize("size", ["small", "big"])
def test_classifier_is_accurate(size, how):
    cases = draw_all(size)
    answers = [(scene, shapes.classify(damaged(image, how))) for scene, image in cases]
    wrong = [
        (scene, answer) for scene, answer in answers if (answer["color"], answer["shape"]) != (scene.color, scene.shape)
    ]
    assert len(cases) == 96
    assert len(wrong) <= 0.01 * len(cases), wrong


def test_empty_image():
    answer = shapes.classify(np.full((64, 64, 3), 128, np.uint8))
    assert (answer["color"], answer["shape"], answer["background"]) == (None, None, "gray")


def test_train_and_test_sets_are_disjoint():
    held, trained = set(shapes.held_out_combinations()), set(shapes.train_combinations())
    assert held and not held & trained and len(held) + len(trained) == 96
    for column, names in enumerate((shapes.COLORS, shapes.SHAPES, shapes.BACKGROUNDS)):
        assert {c[column] for c in trained} == set(names), "every word is in the training set"
    rng = random.Random(0)
    scenes = [shapes.random_scene(rng, shapes.train_combinations()) for _ in range(2000)]
    assert not held & {(s.color, s.shape, s.background) for s in scenes}


def test_held_out_prompts_are_half_chinese():
    prompts = shapes.held_out_prompts(24)
    assert [language for _, language, _ in prompts].count("zh") == 12
    assert len({text for text, _, _ in prompts}) == 24
    held = set(shapes.held_out_combinations())
    assert all((s.color, s.shape, s.background) in held for _, _, s in prompts)
