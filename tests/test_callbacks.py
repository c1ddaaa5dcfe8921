"""Callbacks act as those of diffusers, alone and in a pipeline."""

from types import SimpleNamespace

import diffusers
import diffusers.callbacks as original
import numpy as np
import pytest
import torch

from ppdiffusers import StableDiffusionPipeline, callbacks
from ppdiffusers.core.errors import InputError
from tests.support.checkpoints import tiny_stable_diffusion

NAMES = (
    *("SDCFGCutoffCallback", "SDXLCFGCutoffCallback", "SDXLControlnetCFGCutoffCallback", "SD3CFGCutoffCallback"),
    "IPAdapterScaleCutoffCallback",
)


def pipeline():
    made = SimpleNamespace(num_timesteps=10, _guidance_scale=7.5, ip_adapter_scale=1.0)
    made.set_ip_adapter_scale = lambda scale: setattr(made, "ip_adapter_scale", scale)
    return made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{"cutoff_step_ratio": 0.45}, {"cutoff_step_ratio": None, "cutoff_step_index": 7}])
def test_every_callback(name, settings):
    made = getattr(callbacks, name)(**settings), getattr(original, name)(**settings)
    assert list(made[0].tensor_inputs) == list(made[1].tensor_inputs)
    results = []
    for callback in made:
        pipe, states = pipeline(), []
        for step in range(10):
            tensors = {key: np.arange(4).reshape(2, 2) for key in callback.tensor_inputs}
            changed = callback(pipe, step, 999 - step, tensors)
            states.append((pipe._guidance_scale, pipe.ip_adapter_scale, {k: v.tolist() for k, v in changed.items()}))
        results.append(states)
    assert results[0] == results[1]


def test_several_callbacks():
    one, two = callbacks.SDCFGCutoffCallback(0.5), callbacks.IPAdapterScaleCutoffCallback(0.2)
    both = callbacks.MultiPipelineCallbacks([one, two])
    assert both.tensor_inputs == ["prompt_embeds"]
    pipe = pipeline()
    both(pipe, 2, 0, {"prompt_embeds": np.zeros((2, 1))})
    assert (pipe._guidance_scale, pipe.ip_adapter_scale) == (7.5, 0.0)


@pytest.mark.parametrize(
    "settings", [{"cutoff_step_index": 3}, {"cutoff_step_ratio": None}, {"cutoff_step_ratio": 1.5}]
)
def test_invalid_cutoff_steps(settings):
    with pytest.raises(InputError, match="cutoff_step_ratio"):
        callbacks.SDCFGCutoffCallback(**settings)


def test_in_a_pipeline(tmp_path):
    folder = tiny_stable_diffusion(tmp_path, safety_checker=False)
    settings = {"num_inference_steps": 6, "height": 32, "width": 32, "output_type": "np"}
    ours = StableDiffusionPipeline.from_pretrained(folder)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    images = [
        pipe(
            "a red circle", generator=generator, callback_on_step_end=module.SDCFGCutoffCallback(0.5), **settings
        ).images
        for pipe, generator, module in ((ours, 0, callbacks), (theirs, torch.Generator().manual_seed(0), original))
    ]
    np.testing.assert_allclose(images[0], images[1], rtol=0, atol=2e-3)
    unchanged = ours("a red circle", generator=0, **settings).images
    assert np.abs(images[0] - unchanged).max() > 1e-3, "the callback changes the image"
