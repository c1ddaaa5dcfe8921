"""Guidance against the equations, and against diffusers where it has the function."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg as their_rescale_noise_cfg

from ppdiffusers.pipelines.stages.guidance import (
    classifier_free_guidance,
    guidance_scale_embedding,
    image_text_guidance,
    rescale_noise_cfg,
)
from tests.support.parity import assert_close, noise

SHAPE = (2, 4, 5, 6)
FIRST, SECOND, THIRD = (noise(SHAPE, name) for name in ("first", "second", "third"))


def stacked(*predictions):
    return paddle.to_tensor(np.concatenate(predictions))


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_classifier_free_guidance(scale):
    guided = classifier_free_guidance(stacked(FIRST, SECOND), scale)
    assert_close(guided, FIRST + scale * (SECOND - FIRST), 1e-5)


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescaled_guidance_agrees_with_diffusers(rescale):
    guided = FIRST + 7.5 * (SECOND - FIRST)
    expected = their_rescale_noise_cfg(torch.from_numpy(guided), torch.from_numpy(SECOND), rescale)
    mine = rescale_noise_cfg(paddle.to_tensor(guided), paddle.to_tensor(SECOND), rescale)
    assert_close(mine, expected, 1e-5)
    assert_close(classifier_free_guidance(stacked(FIRST, SECOND), 7.5, rescale), expected, 1e-5)


def test_full_rescaling_restores_the_standard_deviation():
    rescaled = rescale_noise_cfg(paddle.to_tensor(FIRST * 9), paddle.to_tensor(SECOND), 1.0).numpy()
    np.testing.assert_allclose(rescaled.std(axis=(1, 2, 3)), SECOND.std(axis=(1, 2, 3)), rtol=1e-4)


def test_image_text_guidance():
    """Equation 3 of InstructPix2Pix: with both scales 1 it is the prediction with prompt and image."""
    predictions = stacked(FIRST, SECOND, THIRD)
    expected = THIRD + 1.5 * (SECOND - THIRD) + 7.5 * (FIRST - SECOND)
    assert_close(image_text_guidance(predictions, 7.5, 1.5), expected, 1e-5)
    assert_close(image_text_guidance(predictions, 1.0, 1.0), FIRST, 1e-5)


@pytest.mark.parametrize("dim", [32, 33])
def test_guidance_scale_embedding_agrees_with_diffusers(dim):
    w = noise((3,), "w")
    embed = diffusers.StableDiffusionPipeline.get_guidance_scale_embedding
    assert_close(guidance_scale_embedding(paddle.to_tensor(w), dim), embed(None, torch.from_numpy(w), dim))
