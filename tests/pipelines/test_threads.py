"""Pipelines in several threads generate the images of one thread."""

import copy
import pickle
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.torch_utils import randn_tensor
from tests.pipelines.support import make_image
from tests.runtime.support import BACKENDS, program_cache
from tests.support.threads import in_threads

__all__ = ["program_cache"]

FOLDER = Path(__file__).parents[2] / "examples/assets/shapes-bilingual"
PROMPT = "a red circle on a white background"
CALL = {"height": 32, "width": 32, "num_inference_steps": 4, "output_type": "np"}
THREADS = 4


def load() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(FOLDER, compile="off")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe():
    return load()


def with_scheduler(pipe, kind: type, target: type = StableDiffusionPipeline, **settings):
    """Return a pipeline that shares the networks of `pipe` and has a new scheduler."""
    made = target.from_pipe(pipe, scheduler=kind.from_config(pipe.scheduler.config, **settings))
    made.set_progress_bar_config(disable=True)
    return made


def images(pipe, seed: int, **call) -> np.ndarray:
    return pipe(PROMPT, **{**CALL, **call}, generator=seed).images


def assert_same_images(pipes: list, wanted: list, rounds: int = 3, tolerance: float = 0.0) -> None:
    """Compare images of all pipelines, each in a thread with its number as the seed, with those of one thread."""
    for _ in range(rounds):
        found = in_threads([lambda n=n, pipe=pipe: images(pipe, n) for n, pipe in enumerate(pipes)])
        for one, reference in zip(found, wanted, strict=True):
            assert not isinstance(one, BaseException), one
            assert np.abs(one - reference).max() <= tolerance


# -- eager ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PNDMScheduler, DPMSolverMultistepScheduler])
def test_one_pipeline_with_a_multistep_scheduler(kind, pipe):
    pipe = with_scheduler(pipe, kind)
    wanted = [images(pipe, n) for n in range(THREADS)]
    assert_same_images([pipe] * THREADS, wanted, rounds=3)


def test_pipelines_that_share_a_scheduler(pipe):
    """The scheduler belongs to pipelines of different classes."""
    first = with_scheduler(pipe, PNDMScheduler)
    second = StableDiffusionImg2ImgPipeline.from_pipe(first)
    second.set_progress_bar_config(disable=True)
    assert second.scheduler is first.scheduler
    image = make_image(32, 32)

    def edit():
        return second(PROMPT, image, strength=0.8, num_inference_steps=7, generator=3, output_type="np").images

    functions = [lambda: images(first, 1), edit, lambda: images(first, 2), edit]
    wanted = [function() for function in functions]
    for _ in range(3):
        for one, reference in zip(in_threads(functions), wanted, strict=True):
            assert np.array_equal(one, reference)


def test_pipelines_with_separate_schedulers_run_side_by_side(pipe):
    pipes = [with_scheduler(pipe, PNDMScheduler) for _ in range(THREADS)]
    wanted = [images(each, n) for n, each in enumerate(pipes)]
    assert_same_images(pipes, wanted)


def test_guidance_of_a_call_is_its_own(pipe):
    """`guidance_scale` is an attribute of the pipeline while the call runs."""
    scales, seen = (1.0, 3.0, 7.5), {}

    def run(scale):
        def note(pipe, step, timestep, tensors):
            seen.setdefault(scale, set()).add(pipe.guidance_scale)
            return {}

        return images(pipe, 0, guidance_scale=scale, callback_on_step_end=note)

    functions = [lambda scale=scale: run(scale) for scale in scales]
    wanted = [function() for function in functions]
    assert all(np.array_equal(*pair) for pair in zip(in_threads(functions), wanted, strict=True))
    assert seen == {scale: {scale} for scale in scales}


def test_a_callback_calls_another_pipeline(pipe):
    """Callbacks of two threads call the other's pipeline with its scheduler, and the same pipeline again."""
    pipes = [with_scheduler(pipe, DDIMScheduler), with_scheduler(pipe, DDIMScheduler)]

    def run(position: int, target: int):
        def preview(pipe, step, timestep, tensors):
            if step == 3:  # the last: the scheduler is not needed any more
                inner.append(images(pipes[target], 8))
            return {}

        inner: list[np.ndarray] = []
        return images(pipes[position], position, callback_on_step_end=preview), inner[0]

    wanted = [images(pipes[0], 0), images(pipes[0], 8)]
    for found in in_threads([lambda: run(0, 0)] * 2):
        assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))
    # callbacks that wait for each other: an error in one of the threads, and the other one finishes
    found = in_threads([lambda: run(0, 1), lambda: run(1, 0)])
    failed = [each for each in found if isinstance(each, BaseException)]
    assert len(failed) <= 1 and all(isinstance(each, InputError) for each in failed)
    assert np.array_equal(images(pipes[0], 0), wanted[0])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_one_thread_does_not_block_the_others(error, pipe):
    def fail(pipe, step, timestep, tensors):
        raise error("callback")

    wanted = images(pipe, 1)
    failing = lambda: images(pipe, 1, callback_on_step_end=fail)  # noqa: E731
    found = in_threads([failing, lambda: images(pipe, 1), failing, lambda: images(pipe, 1)])
    assert type(found[0]) is error and type(found[2]) is error
    assert np.array_equal(found[1], wanted) and np.array_equal(found[3], wanted)


def test_generators_of_paddle_in_threads():
    """A draw exchanges the state of Paddle's default generator, which other threads use at the same time."""

    def draws(generator):
        return [randn_tensor((3, 5), generator=generator).numpy() for _ in range(200)]

    kind = paddle.base.core.Generator
    wanted = [draws(kind().manual_seed(seed)) for seed in range(3)]
    found = in_threads([*(lambda seed=seed: draws(kind().manual_seed(seed)) for seed in range(3)), lambda: draws(None)])
    assert all(np.array_equal(*pair) for pair in zip(found[:3], wanted, strict=True))


def test_pipelines_and_networks_that_were_used_can_be_copied(pipe):
    """No lock is part of them."""
    wanted = images(pipe, 0)
    assert np.array_equal(images(copy.deepcopy(pipe), 0), wanted)
    assert isinstance(copy.deepcopy(pipe.unet), UNet2DConditionModel)
    scheduler = pickle.loads(pickle.dumps(pipe.scheduler))
    assert type(scheduler) is type(pipe.scheduler)


# -- compiled ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_pipelines_with_separate_schedulers(backend, pipe, program_cache):
    """The first round is a cold start."""
    pipes = [with_scheduler(pipe, PNDMScheduler) for _ in range(THREADS)]
    wanted = [images(each, n) for n, each in enumerate(pipes)]
    pipe.compile(backend=backend)
    assert_same_images(pipes, wanted, rounds=2, tolerance=2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_compiled_pipeline(backend, pipe, program_cache):
    wanted = [images(pipe, n) for n in range(THREADS)]
    pipe.compile(backend=backend)
    assert_same_images([pipe] * THREADS, wanted, rounds=2, tolerance=2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_pipelines_that_were_loaded_separately(backend, pipe, program_cache):
    pipes = [load().compile(backend=backend) for _ in range(3)]
    wanted = [images(pipe, n) for n in range(3)]
    assert_same_images(pipes, wanted, rounds=3, tolerance=2e-3)


def test_pipelines_that_compile_when_it_pays(pipe, program_cache, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_COMPILE", "auto")
    for name in ("_MIN_EAGER_SECONDS", "_COMPILE_SECONDS", "_COMPILE_SECONDS_PER_GB"):
        monkeypatch.setattr(f"ppdiffusers.runtime.compiling.{name}", 0.0)
    wanted = [images(pipe, n) for n in range(THREADS)]
    pipes = [with_scheduler(pipe, type(pipe.scheduler)) for _ in range(THREADS)]
    assert_same_images(pipes, wanted, rounds=2, tolerance=2e-3)
    assert program_cache.exists()
