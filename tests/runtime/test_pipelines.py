"""`pipe.compile()`: a pipeline with all networks compiled generates the same images."""

import logging

import numpy as np
import pytest

from ppdiffusers import StableDiffusionPipeline
from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime import is_compiled
from tests.pipelines.support import PROMPTS
from tests.runtime.support import BACKENDS, program_cache
from tests.support.checkpoints import tiny_stable_diffusion

__all__ = ["program_cache"]


NETWORKS = ("text_encoder", "unet", "vae", "safety_checker")
CALL = {"height": 32, "width": 48, "num_inference_steps": 3, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Stable Diffusion checkpoint with a safety checker, in PyTorch's layout."""
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def pipe(folder, program_cache):
    pipe = StableDiffusionPipeline.from_pretrained(folder, compile="off")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_are_the_same_at_every_size(backend, pipe, caplog):
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    calls = (
        {**CALL, "prompt": PROMPTS},
        {**CALL, "prompt": PROMPTS[0], "guidance_scale": 1.0, "width": 40},
        {**CALL, "prompt": PROMPTS},
    )
    wanted = [pipe(**call, generator=3).images for call in calls]
    assert pipe.compile(backend=backend) is pipe
    assert all(is_compiled(getattr(pipe, name)) for name in NETWORKS)
    for call, reference in zip(calls, wanted):
        assert np.abs(pipe(**call, generator=3).images - reference).max() <= 2e-3
    assert not [r.getMessage() for r in caplog.records if "is not compiled" in r.getMessage()]
    pipe.compile(mode="off")
    assert not any(is_compiled(getattr(pipe, name)) for name in NETWORKS)
    assert np.array_equal(pipe(**calls[0], generator=3).images, wanted[0])


def test_by_default_networks_are_compiled_when_that_pays_off(folder, program_cache, monkeypatch):
    """All calls are too fast to be compiled here; without thresholds all networks are compiled."""
    monkeypatch.setenv("PPDIFFUSERS_COMPILE", "auto")
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(PROMPTS[0], **CALL, generator=3).images
    assert not program_cache.exists()
    for name in ("_MIN_EAGER_SECONDS", "_COMPILE_SECONDS", "_COMPILE_SECONDS_PER_GB"):
        monkeypatch.setattr(f"ppdiffusers.runtime.compiling.{name}", 0.0)
    for _ in range(2):
        assert np.abs(pipe(PROMPTS[0], **CALL, generator=3).images - wanted).max() <= 2e-3
    made = {path.name.partition("-")[0] for path in program_cache.iterdir() if path.name[0] != "."}
    assert made == {"pays", "program", "verified", "weights"}


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_the_default_can_be_turned_off(how, folder, program_cache, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_COMPILE", "off" if how == "variable" else "auto")
    pipe = StableDiffusionPipeline.from_pretrained(folder, **({"compile": "off"} if how == "argument" else {}))
    pipe.set_progress_bar_config(disable=True)
    for name in ("_MIN_EAGER_SECONDS", "_COMPILE_SECONDS", "_COMPILE_SECONDS_PER_GB"):
        monkeypatch.setattr(f"ppdiffusers.runtime.compiling.{name}", 0.0)
    pipe(PROMPTS[0], **CALL, generator=3)
    assert not program_cache.exists()
    assert not any(is_compiled(getattr(pipe, name)) for name in NETWORKS)


def test_a_compiled_pipeline_is_saved_as_an_eager_one(pipe, tmp_path):
    """Saving a compiled pipeline writes the same weights as saving an eager one."""
    pipe.compile(backend="onednn")
    pipe(PROMPTS[0], **CALL, generator=3)
    pipe.save_pretrained(tmp_path / "saved")
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "saved", compile="off")
    again.set_progress_bar_config(disable=True)
    pipe.compile(mode="off")
    assert np.array_equal(again(PROMPTS[0], **CALL, generator=3).images, pipe(PROMPTS[0], **CALL, generator=3).images)


def test_invalid_modes_are_rejected(pipe, folder):
    with pytest.raises(InputError, match="sometimes"):
        pipe.compile(mode="sometimes")
    with pytest.raises(InputError, match="tpu"):
        pipe.compile(backend="tpu")
    with pytest.raises(InputError, match="sometimes"):
        StableDiffusionPipeline.from_pretrained(folder, compile="sometimes")
