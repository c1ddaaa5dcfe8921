"""BDDMPipeline against recorded runs of the original repository (tests/data/bddm)."""

import numpy as np
import paddle
import pytest
import torch
from safetensors.torch import load_file

from ppdiffusers import (
    BDDMPipeline,
    BDDMScheduleModel,
    BDDMScheduler,
    DiffusionPipeline,
    DiffWaveModel,
    RecordedNoise,
    convert_original,
    convert_to_original,
    load_noise_schedule,
)
from ppdiffusers.core.errors import ConfigError, InputError, WeightsError
from tests.support import bddm
from tests.support.parity import assert_close


def converted(folder, schedule=True):
    torch.save({"model_state_dict": bddm.state_dict(schedule), "schedule_net_training_step": 7}, folder / "net.pkl")
    convert_original(folder / "net.pkl", folder / "paddle", "bddm", config=bddm.SETTINGS, progress=False)
    return folder / "paddle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The original checkpoint, converted."""
    return converted(tmp_path_factory.mktemp("bddm"))


@pytest.fixture
def pipe(folder):
    return BDDMPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def recorded():
    return bddm.recorded()


def noises(recorded, run):
    return RecordedNoise([recorded[name] for name in sorted(recorded) if name.startswith(f"{run}/noise_")])


def steps_of(pipe):
    """Record the sample after each step."""
    samples, step = [], pipe.scheduler.step

    def kept(*args, **kwargs):
        output = step(*args, **kwargs)
        samples.append(output.prev_sample.numpy())
        return output

    pipe.scheduler.step = kept
    return samples


def test_score_network(pipe, recorded):
    for call in (name[: -len("/out")] for name in recorded if "/call/score_net/" in name and name.endswith("/out")):
        audio, mel, timestep = (paddle.to_tensor(recorded[f"{call}/in/0.{n}"]) for n in range(3))
        with paddle.no_grad():
            found = pipe.score_net(audio, timestep.reshape([-1]), mel).sample.numpy()
        assert_close(found, recorded[f"{call}/out"], 1e-5, call)


def test_schedule_network(pipe, recorded):
    for n in (0, 5):
        call = f"search_ddpm/call/schedule_net/{n:03}"
        bounds = (paddle.to_tensor(recorded[f"{call}/in/1.{k}"]).reshape([-1]) for k in range(2))
        with paddle.no_grad():
            found = pipe.schedule_net(paddle.to_tensor(recorded[f"{call}/in/0"]), *bounds).numpy()
        assert_close(found, recorded[f"{call}/out"].reshape(-1), 1e-5, call)


def test_training_schedule(recorded, tmp_path):
    """The recorded run has as many training timesteps as steps."""
    pipe = BDDMPipeline.from_pretrained(converted(tmp_path))
    pipe.scheduler = BDDMScheduler.from_config(pipe.scheduler.config, num_train_timesteps=8)
    samples, noise = steps_of(pipe), noises(recorded, "ddpm8")
    audios = pipe(recorded["ddpm8/in/condition"], generator=noise).audios
    assert noise.remaining == 0
    for n, (found, expected) in enumerate(zip(samples, recorded["ddpm8/out/sequence"], strict=True)):
        assert_close(found[0], expected, 1e-4, f"step {n}")
    assert_close(audios, recorded["ddpm8/out/audio"], 1e-4)


def test_search_and_sampling_with_what_was_found(pipe, recorded):
    mel = recorded["search_ddpm_sample/in/condition"]
    noise = noises(recorded, "search_ddpm")
    betas = pipe.search_noise_schedule(mel, 0.3, 0.5, max_steps=12, generator=noise)
    assert noise.remaining == 0
    # the recorded arrays are [timesteps, alphas, betas, sigmas], and the search ran on another spectrogram
    assert_close(betas, recorded["search_ddpm/out/beta"], 1e-4)
    pipe.scheduler.set_timesteps(betas=betas)
    np.testing.assert_allclose(
        pipe.scheduler.host_timesteps[::-1], recorded["search_ddpm/out/ts"], rtol=1e-4, atol=0.02
    )

    samples, noise = steps_of(pipe), noises(recorded, "search_ddpm_sample")
    audios = pipe(mel, betas=betas, generator=noise).audios
    assert noise.remaining == 0
    for n, (found, expected) in enumerate(zip(samples, recorded["search_ddpm_sample/out/sequence"], strict=True)):
        assert_close(found[0], expected, 1e-3, f"step {n}")
    assert_close(audios, recorded["search_ddpm_sample/out/audio"], 1e-3)


def test_ddim_of_evenly_spaced_timesteps(pipe):
    """Equation 12 of DDIM, written out over a subset of the training noise levels."""
    mel, latents = np.ones((1, 80, 2), "float32"), np.random.default_rng(0).standard_normal((1, 1, 512))
    found = pipe(mel, num_inference_steps=5, ddim=True, latents=latents).audios
    alphas = np.sqrt(np.cumprod(1 - np.linspace(0.0001, 0.02, 200)))
    steps = np.linspace(0, 199, 5).astype(int)
    x = paddle.to_tensor(latents.astype("float32"))
    for n in range(4, -1, -1):
        alpha, after = alphas[steps[n]], alphas[steps[n - 1]] if n > 0 else 1.0
        with paddle.no_grad():
            eps = pipe.score_net(x, float(steps[n]), paddle.to_tensor(mel)).sample
        x = (x - eps * float(np.sqrt(1 - alpha**2))) * float(after / alpha) + eps * float(np.sqrt(1 - after**2))
    assert_close(found, x.numpy(), 1e-3)


def test_ddim_search_is_deterministic_after_the_first_noise(pipe):
    mel = np.random.default_rng(0).standard_normal((80, 3)).astype("float32")
    runs = [pipe.search_noise_schedule(mel, 0.4, 0.4, max_steps=3, ddim=True, generator=s) for s in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert 1 <= len(runs[2]) <= 3 and not np.array_equal(runs[0], runs[2])


def test_batches(pipe):
    mels = np.random.default_rng(0).standard_normal((2, 80, 2)).astype("float32")
    both = pipe(mels, num_inference_steps=3, generator=[1, 2]).audios
    alone = pipe(mels[1], num_inference_steps=3, generator=2).audios
    assert both.shape == (2, 1, 512)
    assert_close(alone[0], both[1], 1e-5)


def test_every_tensor_survives_the_round_trip(folder, pipe, tmp_path):
    convert_to_original(folder, tmp_path / "original", "bddm", progress=False)
    back, state = load_file(tmp_path / "original" / "model.safetensors"), bddm.state_dict()
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    pipe.save_pretrained(tmp_path / "saved")
    assert type(DiffusionPipeline.from_pretrained(tmp_path / "saved")) is BDDMPipeline


def test_checkpoint_without_a_schedule_network(tmp_path):
    pipe = BDDMPipeline.from_pretrained(converted(tmp_path, schedule=False))
    assert pipe.schedule_net is None
    assert pipe(np.zeros((80, 1)), num_inference_steps=2, generator=0).audios.shape == (1, 1, 256)
    with pytest.raises(InputError, match="no `schedule_net`"):
        pipe.search_noise_schedule(np.zeros((80, 1)), 0.3, 0.5)
    convert_to_original(tmp_path / "paddle", tmp_path / "original", "bddm", progress=False)
    assert load_file(tmp_path / "original" / "model.safetensors").keys() == bddm.state_dict(schedule=False).keys()


def test_schedule_files(tmp_path, pipe):
    schedule = [torch.arange(3.0), torch.rand(3), torch.tensor([1e-4, 1e-2, 0.5]), torch.rand(3)]
    torch.save(schedule, tmp_path / "3steps.ns")
    betas = load_noise_schedule(tmp_path / "3steps.ns")
    np.testing.assert_array_equal(betas, schedule[2].numpy())
    assert pipe(np.zeros((80, 1)), betas=betas, generator=0).audios.shape == (1, 1, 256)
    torch.save(schedule[:2], tmp_path / "other.ns")
    with pytest.raises(WeightsError, match="not a noise schedule"):
        load_noise_schedule(tmp_path / "other.ns")


def test_bad_arguments(pipe):
    with pytest.raises(InputError, match="80 mel bins"):
        pipe(np.zeros((79, 4)))
    with pytest.raises(InputError) as raised:
        pipe.search_noise_schedule(np.zeros((80, 0)), 1.5, 0.5, max_steps=0)
    for message in ("`alpha_param` must be between 0 and 1", "max_steps", "[80, 0]"):
        assert message in str(raised.value)
    with pytest.raises(InputError, match="at most sqrt"):
        pipe.search_noise_schedule(np.zeros((80, 1)), 0.9, 0.5)
    with pytest.raises(InputError, match="at most 256 samples for each frame"):
        pipe.score_net(paddle.zeros([1, 1, 300]), 3, paddle.zeros([1, 80, 1]))
    with pytest.raises(ConfigError, match="num_res_layers=0"):
        DiffWaveModel(num_res_layers=0)
    with pytest.raises(ConfigError, match="multiple of 8"):
        BDDMScheduleModel(input_dim=12)
