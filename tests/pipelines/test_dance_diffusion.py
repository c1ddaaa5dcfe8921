"""DanceDiffusionPipeline against diffusers: lengths that divide and others, draws, saving, converting."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers import AudioPipelineOutput, DanceDiffusionPipeline, DiffusionPipeline
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import call_both, generators, load_both
from tests.support.parity import assert_close
from tests.support.round_trip import saved_both_ways, there_and_back
from tests.support.unconditional import every_sample, tiny_unconditional


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_unconditional("DanceDiffusionPipeline", tmp_path_factory.mktemp("dance"))


@pytest.fixture
def both(folder):
    return load_both(folder)


def assert_sounds_agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within the tolerance of pipelines, and not silent."""
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    assert theirs.std() > 0.05
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)


def test_the_same_seed_plays_the_same_sound(both):
    ours, theirs = both
    mine, reference = call_both(ours, theirs, seed=7, batch_size=2, num_inference_steps=25)
    assert isinstance(ours, DanceDiffusionPipeline) and isinstance(mine, AudioPipelineOutput)
    assert mine.audios.shape == (2, 2, 96)
    assert_sounds_agree(mine.audios, reference.audios)


def test_every_step_agrees(both):
    """Before sounds are clipped to what can be played."""
    ours, theirs = both
    mine, reference = every_sample(ours), every_sample(theirs)
    call_both(ours, theirs, seed=3, batch_size=2, num_inference_steps=6)
    for n, (sample, expected) in enumerate(zip(mine, reference, strict=True)):
        assert_close(sample, expected, 1e-4, f"step {n}")


@pytest.mark.parametrize("seconds", [0.24, 0.32, 0.57, 1.003, 1])
def test_lengths(both, seconds):
    """At 100 samples a second: those that 8 does not divide are made longer, then cut."""
    ours, theirs = both
    mine, reference = call_both(ours, theirs, seed=1, num_inference_steps=4, audio_length_in_s=seconds)
    assert mine.audios.shape[-1] == int(seconds * 100)
    assert_sounds_agree(mine.audios, reference.audios)


def test_a_generator_for_each_sound(both):
    ours, theirs = both
    mine, reference = generators(5, count=2)
    settings = {"batch_size": 2, "num_inference_steps": 4}
    sounds = ours(generator=mine, **settings).audios
    assert_sounds_agree(sounds, theirs(generator=reference, **settings).audios)
    (again,) = ours(generator=generators(5, count=2)[0], return_dict=False, **settings)
    np.testing.assert_array_equal(sounds, again)


def test_another_scheduler(both):
    ours, theirs = both
    ours.scheduler = type(ours.scheduler)(trained_betas=np.linspace(0.99, 0.0, 9))
    theirs.scheduler = type(theirs.scheduler)(trained_betas=np.linspace(0.99, 0.0, 9))
    mine, reference = call_both(ours, theirs, seed=4, num_inference_steps=8)
    assert_sounds_agree(mine.audios, reference.audios)


def test_converted_both_ways(folder, tmp_path):
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    paddle_again = DiffusionPipeline.from_pretrained(paddle_folder)
    torch_again = diffusers.DiffusionPipeline.from_pretrained(torch_folder)
    mine, reference = call_both(paddle_again, torch_again, seed=2, num_inference_steps=4)
    assert_sounds_agree(mine.audios, reference.audios)


def test_saved_and_loaded_again(both, tmp_path):
    saved, for_torch = saved_both_ways(both[0], tmp_path)
    again, torch_again = (
        DiffusionPipeline.from_pretrained(saved),
        diffusers.DiffusionPipeline.from_pretrained(for_torch),
    )
    mine, reference = call_both(again, torch_again, seed=2, num_inference_steps=4)
    np.testing.assert_array_equal(mine.audios, both[0](generator=2, num_inference_steps=4).audios)
    assert_sounds_agree(mine.audios, reference.audios)


def test_everything_wrong_is_listed(both):
    with pytest.raises(InputError) as raised:
        both[0](batch_size=0, num_inference_steps=2.5, audio_length_in_s="long", generator="seven")
    for argument in ("batch_size", "num_inference_steps", "audio_length_in_s", "generator"):
        assert f"`{argument}`" in str(raised.value)
    with pytest.raises(InputError, match="not a generator"):
        both[0](batch_size=2, generator=[1, "two"])
    with pytest.raises(InputError, match="3 generators for 2 image"):
        both[0](batch_size=2, generator=[1, 2, 3])
    for seconds in (0.23, -1, float("nan")):
        with pytest.raises(InputError, match="`audio_length_in_s`"):
            both[0](audio_length_in_s=seconds)


def test_seconds_need_a_sample_rate(tmp_path):
    folder = tiny_unconditional("DanceDiffusionPipeline", tmp_path, sample_rate=None)
    ours = DiffusionPipeline.from_pretrained(folder)
    assert ours(num_inference_steps=2, generator=0).audios.shape == (1, 2, 96)
    with pytest.raises(InputError, match="a `sample_rate`"):
        ours(audio_length_in_s=1.0)


def test_nan_is_named(both, caplog):
    ours, _ = both
    bias = ours.unet.down_blocks[0].resnets[0].conv_1.bias
    bias.set_value(paddle.full_like(bias, float("nan")))
    ours(num_inference_steps=4, generator=0)
    second = float(ours.scheduler.timesteps[1])  # at time 1 all is noise and the velocity counts for nothing
    assert f"first appeared in: denoising at time {second:.4f}" in caplog.text
