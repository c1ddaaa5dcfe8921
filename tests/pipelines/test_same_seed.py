"""The same seed gives the same picture: the checkpoint of this repository in diffusers and in ppdiffusers."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import ppdiffusers
from ppdiffusers import RecordedNoise, TorchGenerator
from tests.pipelines.support import assert_pictures_agree, load_both

CHECKPOINT = Path(__file__).parents[2] / "examples" / "assets" / "shapes-bilingual"
STEPS = 20
# samplers that draw noise at every step, what is changed in their configuration, and arguments of the call
SAMPLERS = {
    "DDIM, eta 1": ("DDIMScheduler", {}, {"eta": 1.0}),
    "DDPM": ("DDPMScheduler", {}, {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}, {}),
    "LCM": ("LCMScheduler", {}, {"guidance_scale": 1.0}),
    "DPM-Solver++ SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
}
PROMPTS = ["a red circle on a white background", "一个蓝色的三角形，黄色背景"]
CALLS = {  # prompts, and the seeds: one number for one generator, a list for one for each picture
    "single": (PROMPTS[0], 7),
    "batch, one generator": (PROMPTS, 2**32 + 5),
    "batch, a list of generators": (PROMPTS, [3, 4]),
}


@pytest.fixture(scope="module")
def pipelines():
    return load_both(CHECKPOINT)


def paint(pipe, library, sampler, prompt, generator):
    scheduler, changes, arguments = SAMPLERS[sampler]
    pipe.scheduler = getattr(library, scheduler).from_config(pipe.published.config, **changes)
    return pipe(prompt, num_inference_steps=STEPS, generator=generator, output_type="np", **arguments).images


def seeded(make, seeds):
    return [make(seed) for seed in seeds] if isinstance(seeds, list) else make(seeds)


def torch_generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_that_draw_noise(pipelines, sampler, call):
    prompt, seeds = CALLS[call]
    ours = paint(pipelines[0], ppdiffusers, sampler, prompt, seeded(TorchGenerator, seeds))
    theirs = paint(pipelines[1], diffusers, sampler, prompt, seeded(torch_generator, seeds))
    assert_pictures_agree(ours, theirs)


def test_integers_and_the_generator_that_goes_on(pipelines):
    """An integer is a fresh stream; a generator's second call continues where its first one ended, as in torch."""
    ours, theirs = TorchGenerator(5), torch_generator(5)
    first = [paint(pipelines[0], ppdiffusers, "DDIM, eta 1", PROMPTS[0], ours) for _ in range(2)]
    second = [paint(pipelines[1], diffusers, "DDIM, eta 1", PROMPTS[0], theirs) for _ in range(2)]
    assert_pictures_agree(first[0], second[0])
    assert_pictures_agree(first[1], second[1])
    assert np.abs(first[0] - first[1]).max() > 0.02
    by_number = paint(pipelines[0], ppdiffusers, "DDIM, eta 1", PROMPTS[0], 5)
    np.testing.assert_array_equal(by_number, first[0])


def test_a_recorded_run_is_repeated(pipelines):
    """What torch drew, kept and given back draw by draw: the order and shapes of the draws are diffusers' own."""
    from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion
    from diffusers.schedulers import scheduling_ddim

    recorded = []
    original = pipeline_stable_diffusion.randn_tensor

    def recording(*args, **kwargs):
        recorded.append(original(*args, **kwargs))
        return recorded[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_stable_diffusion, "randn_tensor", recording)
        patch.setattr(scheduling_ddim, "randn_tensor", recording)
        theirs = paint(pipelines[1], diffusers, "DDIM, eta 1", PROMPTS, torch_generator(11))
    noise = RecordedNoise(recorded)
    ours = paint(pipelines[0], ppdiffusers, "DDIM, eta 1", PROMPTS, noise)
    assert noise.remaining == 0
    assert len(recorded) == 1 + STEPS
    assert_pictures_agree(ours, theirs)
