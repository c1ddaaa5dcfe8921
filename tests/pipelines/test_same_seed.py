"""The same seed gives the same image in diffusers and in ppdiffusers, with the checkpoint of this repository."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import ppdiffusers
from ppdiffusers import RecordedNoise, TorchGenerator
from tests.pipelines.support import assert_images_agree, load_both

CHECKPOINT = Path(__file__).parents[2] / "examples" / "assets" / "shapes-bilingual"
STEPS = 20
# samplers that draw noise in each step: scheduler, changes of its configuration, arguments of the call
SAMPLERS = {
    "DDIM, eta 1": ("DDIMScheduler", {}, {"eta": 1.0}),
    "DDPM": ("DDPMScheduler", {}, {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}, {}),
    "LCM": ("LCMScheduler", {}, {"guidance_scale": 1.0}),
    "DPM-Solver++ SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
}
PROMPTS = ["a red circle on a white background", "一个蓝色的三角形，黄色背景"]
CALLS = {  # prompts and seeds: an integer for one generator, a list for one generator for each image
    "single": (PROMPTS[0], 7),
    "batch, one generator": (PROMPTS, 2**32 + 5),
    "batch, a list of generators": (PROMPTS, [3, 4]),
}


@pytest.fixture(scope="module")
def pipelines():
    return load_both(CHECKPOINT)


def generate(pipe, library, sampler, prompt, generator):
    scheduler, changes, arguments = SAMPLERS[sampler]
    pipe.scheduler = getattr(library, scheduler).from_config(pipe.original_scheduler.config, **changes)
    return pipe(prompt, num_inference_steps=STEPS, generator=generator, output_type="np", **arguments).images


def seeded(make, seeds):
    return [make(seed) for seed in seeds] if isinstance(seeds, list) else make(seeds)


def torch_generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_that_draw_noise(pipelines, sampler, call):
    prompt, seeds = CALLS[call]
    ours = generate(pipelines[0], ppdiffusers, sampler, prompt, seeded(TorchGenerator, seeds))
    theirs = generate(pipelines[1], diffusers, sampler, prompt, seeded(torch_generator, seeds))
    assert_images_agree(ours, theirs)


def test_integer_seeds_and_continued_generators(pipelines):
    """An integer starts a new stream; the second call with a generator continues its stream, as in torch."""
    ours, theirs = TorchGenerator(5), torch_generator(5)
    first = [generate(pipelines[0], ppdiffusers, "DDIM, eta 1", PROMPTS[0], ours) for _ in range(2)]
    second = [generate(pipelines[1], diffusers, "DDIM, eta 1", PROMPTS[0], theirs) for _ in range(2)]
    assert_images_agree(first[0], second[0])
    assert_images_agree(first[1], second[1])
    assert np.abs(first[0] - first[1]).max() > 0.02
    by_number = generate(pipelines[0], ppdiffusers, "DDIM, eta 1", PROMPTS[0], 5)
    np.testing.assert_array_equal(by_number, first[0])


def test_recorded_noise(pipelines):
    """Noise that torch drew is replayed: the order and the shapes of the draws are those of diffusers."""
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
        theirs = generate(pipelines[1], diffusers, "DDIM, eta 1", PROMPTS, torch_generator(11))
    noise = RecordedNoise(recorded)
    ours = generate(pipelines[0], ppdiffusers, "DDIM, eta 1", PROMPTS, noise)
    assert noise.remaining == 0
    assert len(recorded) == 1 + STEPS
    assert_images_agree(ours, theirs)
