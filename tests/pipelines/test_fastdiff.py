"""FastDiffPipeline against recorded runs of the original repository (tests/data/fastdiff)."""

import numpy as np
import paddle
import pytest
import torch
from safetensors.torch import load_file

from ppdiffusers import (
    AudioPipelineOutput,
    BDDMScheduler,
    DiffusionPipeline,
    FastDiffModel,
    FastDiffPipeline,
    RecordedNoise,
    convert_diffusers_to_paddle,
    convert_original,
    convert_paddle_to_diffusers,
    convert_to_original,
)
from ppdiffusers.core.errors import ConfigError, InputError
from tests.conversion.support import torch_bits
from tests.support import fastdiff
from tests.support.parity import assert_close

HOP = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The original checkpoint, converted."""
    folder = tmp_path_factory.mktemp("fastdiff")
    torch.save({"state_dict": {"model": fastdiff.state_dict()}, "global_step": 7}, folder / "model.ckpt")
    convert_original(folder / "model.ckpt", folder / "paddle", "fastdiff", config=fastdiff.SETTINGS, progress=False)
    return folder / "paddle"


@pytest.fixture
def pipe(folder):
    return FastDiffPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def recorded():
    return fastdiff.recorded()


def test_network(pipe, recorded):
    for call in ("N6/call/fastdiff/000", "N6/call/fastdiff/005", "N4_ddim/call/fastdiff/003"):
        audio, mel, timestep = (paddle.to_tensor(recorded[f"{call}/in/0.{n}"]) for n in range(3))
        with paddle.no_grad():
            found = pipe.vocoder(audio, timestep.reshape([-1]), mel).sample.numpy()
        assert_close(found, recorded[f"{call}/out"], 1e-5, call)


@pytest.mark.parametrize(("run", "ddim"), [("N6", False), ("N4_ddim", True)])
def test_recorded_runs(pipe, recorded, run, ddim):
    steps = int(run[1])
    noise = RecordedNoise([recorded[f"{run}/noise_{n:03}"] for n in range(1 if ddim else steps)])
    samples, step = [], pipe.scheduler.step

    def kept(*args, **kwargs):
        output = step(*args, **kwargs)
        samples.append(output.prev_sample.numpy())
        return output

    pipe.scheduler.step = kept
    output = pipe(recorded[f"{run}/in/mel"], num_inference_steps=steps, ddim=ddim, generator=noise)
    assert isinstance(output, AudioPipelineOutput) and output.audios.dtype == np.float32
    assert noise.remaining == 0
    for n, (found, expected) in enumerate(zip(samples, recorded[f"{run}/out/sequence"][1:], strict=True)):
        assert_close(found[0], expected, 1e-4, f"step {n}")
    assert_close(output.audios, recorded[f"{run}/out/audio"], 1e-4)


def test_timesteps_are_those_of_the_original(recorded):
    for run, steps in (("N6", 6), ("N4_ddim", 4)):
        scheduler = BDDMScheduler(inference_schedule="fastdiff")
        scheduler.set_timesteps(steps)
        first, last = (recorded[f"{run}/call/fastdiff/{n:03}/in/0.2"].item() for n in (0, steps - 1))
        # near t = 0 one unit in the last place of a float32 noise level is a hundredth of a timestep
        np.testing.assert_allclose(scheduler.host_timesteps[[0, -1]], [first, last], rtol=1e-5, atol=0.02)


def test_batches_and_spectrograms_without_a_batch_axis(pipe):
    mels = np.random.default_rng(0).standard_normal((2, 80, 3)).astype("float32")
    both = pipe(mels, generator=[1, 2]).audios
    assert both.shape == (2, 1, 3 * HOP)
    for n in range(2):
        alone = pipe(paddle.to_tensor(mels[n]), generator=n + 1, output_type="pd").audios
        assert_close(alone.numpy()[0], both[n], 1e-5)


def test_given_noise_and_schedule(pipe):
    mel, noise = np.zeros((80, 2), "float32"), np.random.default_rng(0).standard_normal((1, 1, 2 * HOP))
    betas = [9.0e-05, 9.0e-03, 6.0e-01]  # the schedule of 3 steps
    runs = [pipe(mel, latents=noise, ddim=True, **how).audios for how in ({"num_inference_steps": 3}, {"betas": betas})]
    np.testing.assert_array_equal(*runs)
    assert pipe.scheduler.num_inference_steps == 3


def test_training_schedule(pipe):
    """All training timesteps, and the linear schedule of 200 steps."""
    scheduler = BDDMScheduler(num_train_timesteps=20)
    scheduler.set_timesteps(20)
    np.testing.assert_allclose(scheduler.host_timesteps, np.arange(20)[::-1], atol=1e-3)
    scheduler = pipe.scheduler
    scheduler.set_timesteps(200)
    np.testing.assert_allclose(scheduler._inference.betas[[0, -1]], [1e-4, 0.02], rtol=1e-6)
    assert len(scheduler.timesteps) == 200


def test_saving_loading_and_conversion_keep_every_bit(folder, pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    again = DiffusionPipeline.from_pretrained(tmp_path / "saved")
    assert type(again) is FastDiffPipeline
    assert {k: v.numpy().tobytes() for k, v in again.vocoder.state_dict().items()} == {
        k: v.numpy().tobytes() for k, v in pipe.vocoder.state_dict().items()
    }
    convert_paddle_to_diffusers(folder, tmp_path / "torch", progress=False)
    convert_diffusers_to_paddle(tmp_path / "torch", tmp_path / "paddle", verify=True, progress=False)
    convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "again", progress=False)
    assert torch_bits(tmp_path / "again" / "vocoder") == torch_bits(tmp_path / "torch" / "vocoder")
    convert_to_original(tmp_path / "paddle", tmp_path / "original", "fastdiff", progress=False)
    back, state = load_file(tmp_path / "original" / "model.safetensors"), fastdiff.state_dict()
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_folded_weight_normalization(pipe, recorded, tmp_path):
    torch.save(fastdiff.folded(fastdiff.state_dict()), tmp_path / "folded.pt")
    convert_original(tmp_path / "folded.pt", tmp_path / "paddle", "fastdiff", progress=False)
    folded = FastDiffModel.from_pretrained(tmp_path / "paddle", subfolder="vocoder")
    assert folded.config.use_weight_norm is False
    audio, mel, timestep = (paddle.to_tensor(recorded[f"N6/call/fastdiff/000/in/0.{n}"]) for n in range(3))
    with paddle.no_grad():
        assert_close(folded(audio, timestep[0], mel).sample.numpy(), recorded["N6/call/fastdiff/000/out"], 1e-5)


def test_compiled(pipe):
    mel = np.random.default_rng(1).standard_normal((80, 4)).astype("float32")
    eager = pipe(mel, generator=0).audios
    pipe.compile(mode="on")
    assert_close(pipe(mel, generator=0).audios, eager, 1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mel": np.zeros((79, 4), "float32")}, "80 mel bins"),
        ({"mel": np.zeros((1, 1, 80, 4), "float32")}, r"\[B, 80, L\]"),
        ({"mel": np.zeros((80, 0), "float32")}, r"\[80, 0\]"),
        ({"mel": "hello"}, "`mel` must be a tensor or an array"),
        ({"mel": np.full((80, 4), np.nan, "float32")}, "not finite"),
        ({"mel": np.zeros((80, 4)), "num_inference_steps": 5}, "no noise schedule of 5 steps"),
        ({"mel": np.zeros((80, 4)), "betas": [0.1, 2.0]}, "not a noise schedule"),
        ({"mel": np.zeros((80, 4)), "latents": np.zeros((1, 1, 7))}, r"\(1, 1, 1024\)"),
        ({"mel": np.zeros((80, 4)), "generator": [1, 2]}, "generator"),
        ({"mel": np.zeros((80, 4)), "output_type": "pil"}, "output_type"),
    ],
)
def test_bad_arguments(pipe, arguments, message):
    with pytest.raises(InputError, match=message):
        pipe(**arguments)


def test_shapes_that_do_not_fit_the_network(pipe):
    with pytest.raises(InputError, match=r"256 samples for each frame"):
        pipe.vocoder(paddle.zeros([1, 1, 100]), 3, paddle.zeros([1, 80, 2]))
    with pytest.raises(ConfigError, match="kpnet_conv_size=2"):
        FastDiffModel(kpnet_conv_size=2, diffusion_step_embed_dim_in=3)


def test_a_hop_size_that_differs_is_an_error(tmp_path):
    torch.save(fastdiff.state_dict(), tmp_path / "model.pt")
    config = {**fastdiff.SETTINGS, "hop_size": 300}
    with pytest.raises(ConfigError, match="hop_size"):
        convert_original(tmp_path / "model.pt", tmp_path / "out", "fastdiff", config=config, progress=False)
    assert not (tmp_path / "out").exists()
