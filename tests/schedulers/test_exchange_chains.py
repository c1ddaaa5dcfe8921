"""Schedulers created from the configuration of another one, twice in a row: the configurations equal diffusers'."""

import itertools

import diffusers
import pytest

import ppdiffusers

SETTINGS = {
    "PNDMScheduler": {},
    "DDIMScheduler": {"clip_sample": False},
    "DDPMScheduler": {"variance_type": "fixed_large"},
    "EulerAncestralDiscreteScheduler": {},
    "LCMScheduler": {"original_inference_steps": 40},
    "TCDScheduler": {},
    "DPMSolverMultistepScheduler": {"algorithm_type": "sde-dpmsolver++"},
    "UniPCMultistepScheduler": {"solver_type": "bh1"},
    "HeunDiscreteScheduler": {"use_karras_sigmas": True},
    "LMSDiscreteScheduler": {},
}
PUBLISHED = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def chain(library, names):
    config = PUBLISHED
    for name in names:
        config = getattr(library, name).from_config(config, **SETTINGS[name]).config
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items() if not k.startswith("_")}


@pytest.mark.parametrize("last", SETTINGS)
def test_configurations_after_two_exchanges(last):
    for names in itertools.permutations(SETTINGS, 2):
        assert chain(ppdiffusers, (*names, last)) == chain(diffusers, (*names, last)), (*names, last)
