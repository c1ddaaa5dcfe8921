"""Schedulers with a special loop: each step against diffusers, from the same samples and noise."""

from __future__ import annotations

import itertools

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import RecordedNoise, TorchGenerator
from tests.schedulers.parity import ROUNDING, SHAPE, STEPS, make, network
from tests.support.parity import assert_close, noise


def both(array: np.ndarray) -> tuple[paddle.Tensor, torch.Tensor]:
    return paddle.to_tensor(array), torch.from_numpy(array)


def generators(seed: int = 3) -> tuple[TorchGenerator, torch.Generator]:
    return TorchGenerator(seed), torch.Generator().manual_seed(seed)


def grid(**choices: list) -> list[dict]:
    """Return every combination of the choices, as configurations."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


@pytest.mark.parametrize(
    "config",
    [
        *grid(sigma_max=[10, 100], sigma_min=[0.02, 0.5], s_churn=[0, 10, 80], s_noise=[1.0, 1.007]),
        {"s_churn": 10, "s_min": 0.5, "s_max": 20},
    ],
)
@pytest.mark.parametrize("steps", [5, 10, 25, 50])  # one step gives NaN in the reference, two are dominated by rounding
def test_karras_ve(config: dict, steps: int) -> None:
    schedulers = make("KarrasVeScheduler", config)
    for scheduler in schedulers:
        scheduler.set_timesteps(steps)
    ours, theirs = schedulers
    assert (ours.timesteps.numpy() == theirs.timesteps.numpy()).all()
    np.testing.assert_allclose(ours.schedule.numpy(), theirs.schedule.numpy(), rtol=1e-5)
    mine, reference = generators()
    sample = noise(SHAPE) * theirs.init_noise_sigma

    def bound(x: torch.Tensor, at: float) -> float:
        """Return the tolerance: the reference computes (x - (x + sigma output)) / sigma, rounded to the digits of x."""
        lost = float(x.abs().max()) * ROUNDING / at * (sigma_b - sigma_prev)
        return 1e-5 + float(lost / step_b.prev_sample.abs().max())

    for t in range(steps - 1, -1, -1):
        sigma = float(theirs.schedule[t])
        sigma_prev = float(theirs.schedule[t - 1]) if t > 0 else 0.0
        a, b = both(sample.astype(np.float32))
        hat_a, sigma_a = ours.add_noise_to_input(a, sigma, mine)
        hat_b, sigma_b = theirs.add_noise_to_input(b, sigma, reference)
        assert_close(hat_a, hat_b, 1e-5, f"noised input at {t} of {steps}")
        assert sigma_a == pytest.approx(float(sigma_b), rel=1e-6)
        output = network(hat_b.numpy() / sigma_b, t)
        x, y = both(output)
        step_a, step_b = ours.step(x, sigma_a, sigma_prev, hat_a), theirs.step(y, sigma_b, sigma_prev, hat_b)
        assert_close(step_a.prev_sample, step_b.prev_sample, bound(hat_b, sigma_b), f"step {t} of {steps}")
        if sigma_prev:
            x, y = both(network(step_b.prev_sample.numpy() / sigma_prev, t))
            step_a = ours.step_correct(x, sigma_a, sigma_prev, hat_a, step_a.prev_sample, step_a.derivative)
            step_b = theirs.step_correct(y, sigma_b, sigma_prev, hat_b, step_b.prev_sample, step_b.derivative)
            assert_close(step_a.prev_sample, step_b.prev_sample, bound(hat_b, sigma_prev), f"correction {t} of {steps}")
        sample = step_b.prev_sample.numpy()


@pytest.mark.parametrize(
    "config",
    [
        *grid(snr=[0.05, 0.15, 0.3], sigma_max=[10.0, 50.0, 1348.0], sigma_min=[0.01, 0.1]),
        {"sigma_min": 0.1, "sampling_eps": 1e-3},
        {"sampling_eps": 0.01, "num_train_timesteps": 100},
    ],
)
@pytest.mark.parametrize("steps", STEPS)
def test_score_sde_ve(config: dict, steps: int) -> None:
    schedulers = make("ScoreSdeVeScheduler", config)
    for scheduler in schedulers:
        scheduler.set_timesteps(steps)
        scheduler.set_sigmas(steps)
    ours, theirs = schedulers
    np.testing.assert_allclose(ours.timesteps.numpy(), theirs.timesteps.numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.sigmas.numpy(), theirs.sigmas.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ours.discrete_sigmas.numpy(), theirs.discrete_sigmas.numpy(), rtol=1e-5)
    mine, reference = generators()
    sample = noise(SHAPE) * np.float32(theirs.init_noise_sigma)
    for i in range(steps):
        sigma = float(theirs.sigmas[i])
        a, b = both(sample)
        x, y = both(network(sample / sigma, i) / np.float32(sigma))
        step_a = ours.step_correct(x, a, generator=mine).prev_sample
        step_b = theirs.step_correct(y, b, generator=reference).prev_sample
        assert_close(step_a, step_b, 1e-5, f"correction {i} of {steps}")
        a, b = both(step_b.numpy())
        step_a = ours.step_pred(x, ours.timesteps[i], a, generator=mine)
        step_b = theirs.step_pred(y, theirs.timesteps[i], b, generator=reference)
        assert_close(step_a.prev_sample_mean, step_b.prev_sample_mean, 1e-5, f"mean {i} of {steps}")
        assert_close(step_a.prev_sample, step_b.prev_sample, 1e-5, f"prediction {i} of {steps}")
        sample = step_b.prev_sample.numpy()


@pytest.mark.parametrize(
    "config", grid(beta_max=[5.0, 10.0, 20.0, 30.0], beta_min=[0.1, 0.5, 1.0], sampling_eps=[1e-3, 0.01])
)
@pytest.mark.parametrize("steps", STEPS)
def test_score_sde_vp(config: dict, steps: int) -> None:
    ours, theirs = make("ScoreSdeVpScheduler", config)
    ours.set_timesteps(steps)
    theirs.set_timesteps(steps)
    np.testing.assert_allclose(ours.timesteps.numpy(), theirs.timesteps.numpy(), rtol=1e-6)
    mine, reference = generators()
    sample = noise(SHAPE)
    for i in range(steps):
        a, b = both(sample)
        x, y = both(network(sample, i))
        step_a = ours.step_pred(x, a, ours.timesteps[i], generator=mine)
        step_b = theirs.step_pred(y, b, theirs.timesteps[i], generator=reference)
        # the reference computes 1 - exp(...) in float32, which loses digits near the clean sample
        t, low, span = float(ours.timesteps[i]), config["beta_min"], config["beta_max"] - config["beta_min"]
        variance = -np.expm1(-span * t**2 / 2 - low * t)
        lost = ROUNDING / variance * (low + span * t) / steps / variance**0.5 * float(y.abs().max())
        for which, left, right in zip(("sample", "mean"), step_a, step_b, strict=True):
            bound = 1e-5 + lost / float(right.abs().max())
            assert_close(left, right, bound, f"{which} of step {i} of {steps}")
        sample = step_b[0].numpy()


@pytest.mark.parametrize(
    "config",
    [
        *grid(clip_sample=[True, False], eta=[0.0, 0.5, 0.9], beta_schedule=["linear", "squaredcos_cap_v2", "sigmoid"]),
        {"beta_schedule": "scaled_linear"},
        {"beta_end": 0.2},
    ],
)
@pytest.mark.parametrize("jumps", [{}, {"jump_length": 3, "jump_n_sample": 2}])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 25, 50])
def test_repaint(config: dict, jumps: dict, steps: int) -> None:
    ours, theirs = make("RePaintScheduler", {**config, "num_train_timesteps": 60})
    ours.set_timesteps(steps, **jumps)
    theirs.set_timesteps(steps, **jumps)
    assert (ours.timesteps.numpy() == theirs.timesteps.numpy()).all()
    mine, reference = generators()
    image, mask = noise(SHAPE, "image"), (noise((2, 1, 5, 7), "mask") > 0).astype(np.float32)
    sample, last = noise(SHAPE), 10**9
    for t in theirs.timesteps.tolist()[:60]:
        a, b = both(sample)
        if t < last:
            x, y = both(network(sample, t))
            (pa, pb), (ma, mb) = both(image), both(mask)
            step_a = ours.step(x, t, a, pa, ma, generator=mine).prev_sample
            step_b = theirs.step(y, t, b, pb, mb, generator=reference).prev_sample
        else:
            step_a = ours.undo_step(a, last, generator=mine)
            step_b = theirs.undo_step(b, last, generator=reference)
        assert_close(step_a, step_b, 1e-5, f"timestep {t} after {last}")
        sample, last = step_b.numpy(), t


@pytest.mark.parametrize("classes", [5, 17])
@pytest.mark.parametrize("train", [100, 20])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20])
def test_vq_diffusion(classes: int, train: int, steps: int) -> None:
    ours, theirs = make("VQDiffusionScheduler", {"num_vec_classes": classes, "num_train_timesteps": train})
    ours.set_timesteps(steps)
    theirs.set_timesteps(steps)
    assert (ours.timesteps.numpy() == theirs.timesteps.numpy()).all()
    rng = np.random.default_rng(1)
    mine, reference = generators()
    codes = np.full((2, 12), classes - 1)
    codes[0, ::2] = rng.integers(0, classes - 1, 6)
    for t in theirs.timesteps.tolist():
        logits = torch.from_numpy(rng.standard_normal((2, classes - 1, 12)).astype(np.float32)).log_softmax(1)
        log_p = logits.clamp(min=-70)
        (a, b), x = both(codes), paddle.to_tensor(log_p.numpy())
        if t > 0:
            assert_close(ours.q_posterior(x, a, t), theirs.q_posterior(log_p, b, t), 1e-5, f"posterior at {t}")
        step_a = ours.step(x, t, a, generator=mine).prev_sample
        step_b = theirs.step(log_p, torch.tensor(t), b, generator=reference).prev_sample
        assert (step_a.numpy() == step_b.numpy()).all(), f"codes at timestep {t} of {steps} steps"
        codes = step_b.numpy()


def test_ddpm_without_set_timesteps() -> None:
    """As in the first releases: `for t in reversed(range(len(scheduler)))`."""
    ours, theirs = make("DDPMScheduler", {"num_train_timesteps": 40, "beta_end": 0.2})
    mine, reference = generators()
    sample = noise(SHAPE)
    for t in reversed(range(len(ours))):
        a, b = both(sample)
        x, y = both(network(sample, t))
        step_a = ours.step(x, t, a, generator=mine).prev_sample
        step_b = theirs.step(y, t, b, generator=reference).prev_sample
        assert_close(step_a, step_b, 1e-5, f"timestep {t}")
        sample = step_b.numpy()


def test_stochastic_flow_uses_its_generator() -> None:
    ours, theirs = make("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True, "shift": 2.0})
    ours.set_timesteps(5)
    theirs.set_timesteps(5)
    sample = noise(SHAPE)
    for i, t in enumerate(ours.timesteps):
        a, b = both(sample)
        x, y = both(network(sample, float(t)))
        torch.manual_seed(i)
        drawn = torch.randn(SHAPE, generator=torch.Generator().manual_seed(i))
        step_b = theirs.step(y, theirs.timesteps[i], b).prev_sample
        step_a = ours.step(x, t, a, generator=RecordedNoise([drawn.numpy()])).prev_sample
        assert_close(step_a, step_b, 1e-5, f"step {i}")
        sample = step_b.numpy()


def test_brownian_path_equals_torchsde() -> None:
    from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler as Reference

    from ppdiffusers.schedulers.common.brownian import BrownianTreeNoiseSampler

    for seed in (5, [3, 4]):
        ours = BrownianTreeNoiseSampler(SHAPE, 0.03125, 14.625, seed)
        theirs = Reference(torch.zeros(SHAPE), 0.03125, 14.625, seed)
        for a, b in ((14.625, 7.5), (14.625, 3.25), (7.5, 3.25), (3.25, 0.03125), (0.5, 0.25), (14.625, 7.5)):
            assert_close(ours(a, b), theirs(torch.tensor(a), torch.tensor(b)), 1e-5, f"seed {seed}, {a} to {b}")


@pytest.mark.parametrize("steps", [2, 5, 25])
@pytest.mark.parametrize("variance_type", ["fixed_small_log", "learned_range"])
def test_unclip_between_given_timesteps(steps, variance_type):
    """Pipelines pass the next timestep. At the first of few steps its coefficient of x_t is 1e-8, or 0 if rounded."""
    ours = ppdiffusers.UnCLIPScheduler(variance_type=variance_type)
    theirs = diffusers.UnCLIPScheduler(variance_type=variance_type)
    ours.set_timesteps(steps)
    theirs.set_timesteps(steps)
    x, channels = noise((2, 3, 5, 4), "x"), 6 if variance_type == "learned_range" else 3
    prediction = noise((2, channels, 5, 4), "prediction")
    timesteps = [int(t) for t in theirs.timesteps]
    for t, previous in zip(timesteps, [*timesteps[1:], None], strict=True):
        found = ours.step(
            paddle.to_tensor(prediction), t, paddle.to_tensor(x), prev_timestep=previous, generator=TorchGenerator(t)
        )
        expected = theirs.step(
            torch.from_numpy(prediction),
            t,
            torch.from_numpy(x),
            prev_timestep=previous,
            generator=torch.Generator().manual_seed(t),
        )
        assert_close(found.prev_sample, expected.prev_sample, relative=1e-5)


def test_midpoints_that_rounding_moves():
    """sigma_down is a small difference of large numbers in diffusers; its rounding is part of the schedule."""
    config = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    ours, theirs = (library.KDPM2AncestralDiscreteScheduler(**config) for library in (ppdiffusers, diffusers))
    ours.set_timesteps(20)
    theirs.set_timesteps(20)
    assert theirs.timesteps[1] < 948.2 < theirs.timesteps[2]
    assert np.abs(ours.timesteps.numpy() - theirs.timesteps.numpy()).max() < 0.01
