"""The samplers and schedule types on the page about the web UI, against the formulas of k-diffusion.

Karras et al. 2022 (arXiv 2206.00364), algorithm 2 without churn, for Euler, Heun and DPM2; LMS integrates the
polynomial through the last derivatives; ancestral samplers add noise after each step; DPM-Solver++ (arXiv 2211.01095)
of second order.
"""

import re
from pathlib import Path

import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import RecordedNoise

PAGES = [Path(__file__).parents[2] / "docs" / f"coming-from-the-web-ui{language}.md" for language in ("", "_zh")]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS, SHAPE = 20, (1, 4, 6, 5)
_ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
SIGMAS = np.sqrt((1 - _ALPHAS) / _ALPHAS)  # of all training timesteps, [1000]
NOISE = np.random.default_rng(0).standard_normal(SHAPE)
NOISES = [np.random.default_rng(n).standard_normal(SHAPE).astype("float32") for n in range(1, 2 * STEPS)]


def rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def options(text: str) -> dict:
    """The keyword arguments in code spans of a cell."""
    code = ", ".join(re.findall(r"`([a-z_]+=[^`]+)`", text))
    return eval(f"dict({code})")


def samplers(page: Path) -> dict[str, tuple[str, dict]]:
    """Sampler -> (scheduler, its options)."""
    found = [row for row in rows(page) if re.search(r"`\w+Scheduler`", row[-1])]
    return {row[0]: (re.findall(r"`(\w+Scheduler)`", row[-1])[0], options(row[-1])) for row in found}


def schedule_types(page: Path) -> dict[str, dict]:
    found = [row for row in rows(page) if "timestep_spacing=" in row[-1]]
    return {name: options(row[-1]) for row in found for name in re.split("[、,] ?", row[0])}


SAMPLERS, TYPES = samplers(PAGES[0]), schedule_types(PAGES[0])


def test_both_pages_have_these_tables():
    assert samplers(PAGES[1]) == SAMPLERS and schedule_types(PAGES[1]) == TYPES
    assert len(SAMPLERS) == 13 and len(TYPES) == 8


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_scheduler_generates_with_its_options(name):
    scheduler, own = SAMPLERS[name]
    assert np.isfinite(ours(scheduler, own)).all()


# -- formulas ---------------------------------------------------------------------------------------------------------


def epsilon(x, t):
    """A network: it depends on the timestep and is not linear."""
    return 0.7 * x + 0.3 * np.sin(3 * x + t / 200)


def predicted_noise(x, sigma):
    t = np.interp(np.log(sigma), np.log(SIGMAS), np.arange(1000))
    return epsilon(x / np.sqrt(1 + sigma**2), t)


def sigmas_of(kind):
    if kind in ("Karras", "Exponential"):
        low, high, ramp = SIGMAS[0], SIGMAS[-1], np.linspace(0, 1, STEPS)
        if kind == "Exponential":
            found = np.exp(np.log(high) + ramp * (np.log(low) - np.log(high)))
        else:
            found = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    else:
        ends = {"Uniform": np.linspace(999, 0, STEPS), "SGM Uniform": np.linspace(999, 0, STEPS + 1)[:-1]}
        ends["Simple"] = 999 - np.array([int(n * 1000 / STEPS) for n in range(STEPS)])
        found = np.exp(np.interp(ends[kind], np.arange(1000), np.log(SIGMAS)))
    return [*found, 0.0]


def euler(x, start, end, noise=None):
    return x + (end - start) * predicted_noise(x, start)


def heun(x, start, end, noise=None):
    d = predicted_noise(x, start)
    guess = x + (end - start) * d
    return guess if end == 0 else x + (end - start) * (d + predicted_noise(guess, end)) / 2


def dpm2(x, start, end, noise=None):
    d = predicted_noise(x, start)
    if end == 0:
        return x + (end - start) * d
    middle = np.sqrt(start * end)
    return x + (end - start) * predicted_noise(x + (middle - start) * d, middle)


def ancestral(step):
    def sample(x, start, end, noise):
        up = min(end, np.sqrt(end**2 * (start**2 - end**2) / start**2))
        return step(x, start, np.sqrt(end**2 - up**2)) + up * next(noise)

    return sample


def lms(sigmas):
    x, derivatives = NOISE * sigmas[0], []
    for n in range(STEPS):
        derivatives.append(predicted_noise(x, sigmas[n]))
        order = min(n + 1, 4)
        for j in range(order):
            others = [sigmas[n - k] for k in range(order) if k != j]
            integral = np.polyint(np.atleast_1d(np.poly(others))) / np.prod([sigmas[n - j] - other for other in others])
            x = x + (np.polyval(integral, sigmas[n + 1]) - np.polyval(integral, sigmas[n])) * derivatives[n - j]
    return x


def dpmpp_2m(sigmas, noise=None):
    """With noise the SDE of second order by the midpoint rule."""
    x, last, h_last = NOISE * sigmas[0], None, None
    for start, end in zip(sigmas, sigmas[1:]):
        denoised = x - start * predicted_noise(x, start)
        if end == 0:
            return denoised
        h = np.log(start / end)
        extrapolated = denoised if last is None else denoised + (denoised - last) * h / (2 * h_last)
        if noise is None:
            x = end / start * x - np.expm1(-h) * extrapolated
        else:
            x = end / start * np.exp(-h) * x - np.expm1(-2 * h) * extrapolated
            x = x + next(noise) * end * np.sqrt(-np.expm1(-2 * h))
        last, h_last = denoised, h
    raise AssertionError("the last sigma is 0")


STEPS_OF = {"Euler": euler, "Heun": heun, "DPM2": dpm2, "Euler a": ancestral(euler), "DPM2 a": ancestral(dpm2)}


def reference(name, kind):
    sigmas, noise = sigmas_of(kind), iter(NOISES)
    if name == "LMS":
        return lms(sigmas)
    if name.startswith("DPM++"):
        return dpmpp_2m(sigmas, noise if "SDE" in name else None)
    x = NOISE * sigmas[0]
    for start, end in zip(sigmas, sigmas[1:]):
        x = STEPS_OF[name](x, start, end, noise)
    return x


def ours(name, own):
    scheduler = getattr(ppdiffusers, name)(**BETAS, **own)
    scheduler.set_timesteps(STEPS)
    noise = {} if name in _WITHOUT_NOISE else {"generator": RecordedNoise(NOISES)}
    x = paddle.to_tensor(NOISE.astype("float32")) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = epsilon(scheduler.scale_model_input(x, t).numpy(), float(t)).astype("float32")
        x = scheduler.step(paddle.to_tensor(output), t, x, **noise).prev_sample
    return x.numpy()


_WITHOUT_NOISE = (
    *("PNDMScheduler", "LMSDiscreteScheduler", "UniPCMultistepScheduler", "DPMSolverSDEScheduler"),
    "KDPM2DiscreteScheduler",
)
EXACT = ("Euler", "Heun", "LMS", "DPM2", "DPM2 a")
# (samplers, schedule types, tolerance relative to the largest value)
CLAIMS = [
    *[(name, kind, 5e-4) for name in EXACT for kind in ("Uniform", "Karras", "Exponential")],
    ("Euler a", "Uniform", 5e-4),
    *[(name, "Simple", 5e-4) for name in (*EXACT, "Euler a")],
    *[(name, "SGM Uniform", 1e-2) for name in (*EXACT, "Euler a")],
    *[(name, kind, 2e-2) for name in ("DPM++ 2M", "DPM++ 2M SDE") for kind in ("Karras", "SGM Uniform", "Simple")],
]


@pytest.mark.parametrize(("name", "kind", "tolerance"), CLAIMS)
def test_results_are_those_of_the_formulas(name, kind, tolerance):
    scheduler, own = SAMPLERS[name]
    found, expected = ours(scheduler, {**own, **TYPES[kind]}), reference(name, kind)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    other = reference(name, "Karras" if kind in ("Uniform", "Exponential") else "Uniform")
    if name != "Euler a":
        assert np.abs(found - other).max() > 2 * np.abs(found - expected).max()
