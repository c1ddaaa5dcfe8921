"""Timesteps of calls, against diffusers."""

import inspect
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
    retrieve_timesteps as their_retrieve_timesteps,
)

import ppdiffusers
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.timesteps import last_timesteps, retrieve_timesteps, step_kwargs

ARGUMENTS = [
    {"num_inference_steps": 7},
    {"timesteps": [900, 500, 300, 100]},
    {"sigmas": [14.0, 6.0, 2.0, 0.3, 0.0]},
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_retrieve_timesteps(arguments):
    timesteps, count = retrieve_timesteps(ppdiffusers.EulerDiscreteScheduler(), **arguments)
    expected, their_count = their_retrieve_timesteps(diffusers.EulerDiscreteScheduler(), **arguments)
    np.testing.assert_allclose(np.asarray(timesteps), expected.numpy(), rtol=1e-5)
    assert count == their_count


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "HeunDiscreteScheduler"])
@pytest.mark.parametrize("strength", [0.25, 0.55, 1.0])
def test_last_timesteps(scheduler, strength):
    mine, theirs = getattr(ppdiffusers, scheduler)(), getattr(diffusers, scheduler)()
    mine.set_timesteps(9)
    theirs.set_timesteps(9)
    timesteps, count = last_timesteps(mine, mine.timesteps, 9, strength)
    pipeline = SimpleNamespace(scheduler=theirs)
    expected, their_count = diffusers.StableDiffusionImg2ImgPipeline.get_timesteps(pipeline, 9, strength, "cpu")
    np.testing.assert_array_equal(np.asarray(timesteps), expected.numpy())
    assert count == their_count
    if hasattr(theirs, "begin_index"):
        assert mine.begin_index == theirs.begin_index


def test_begin_index_is_optional():
    scheduler = ppdiffusers.EulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    last_timesteps(scheduler, scheduler.timesteps, 4, 0.5, set_begin_index=False)
    assert scheduler.begin_index is None


def test_no_step_remains():
    scheduler = ppdiffusers.DDIMScheduler()
    scheduler.set_timesteps(4)
    with pytest.raises(InputError, match=r"`strength` 0.2 of 4 step\(s\) leaves no step"):
        last_timesteps(scheduler, scheduler.timesteps, 4, 0.2)


def test_scheduler_without_add_noise():
    scheduler = ppdiffusers.IPNDMScheduler()
    scheduler.set_timesteps(4)
    with pytest.raises(InputError, match="IPNDMScheduler cannot add noise"):
        last_timesteps(scheduler, scheduler.timesteps, 4, 0.5)


@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler", "EulerAncestralDiscreteScheduler"])
def test_step_kwargs(name):
    """`eta` is passed to the schedulers of diffusers that accept it."""
    arguments = step_kwargs(getattr(ppdiffusers, name)(), generator=3, eta=0.5)
    accepts_eta = "eta" in inspect.signature(getattr(diffusers, name).step).parameters
    assert arguments == ({"generator": 3, "eta": 0.5} if accepts_eta else {"generator": 3})
