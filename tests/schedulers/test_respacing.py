"""OpenAI's respacing strings, and DDIM with custom timesteps."""

import numpy as np
import paddle
import pytest

from ppdiffusers import DDIMParallelScheduler, DDIMScheduler
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.respacing import respaced_timesteps


def test_numbers_of_steps():
    assert respaced_timesteps("5", 1000) == [999, 749, 500, 250, 0]  # 249.75 and its multiples, rounded half to even
    assert respaced_timesteps(4, 10) == respaced_timesteps("4", 10) == [9, 6, 3, 0]
    assert respaced_timesteps(1, 10) == [0]
    assert respaced_timesteps("1000", 1000) == list(range(999, -1, -1))


def test_sections():
    assert respaced_timesteps("3,2", 11) == [10, 6, 5, 2, 0]  # sections of 6 and 5 timesteps; 2.5 is rounded to 2
    assert respaced_timesteps([3, 2], 11) == respaced_timesteps("3, 2", 11) == [10, 6, 5, 2, 0]
    assert respaced_timesteps("2,0,1", 9) == [6, 2, 0]


def test_ddim_and_fast27():
    assert respaced_timesteps("ddim4", 1000) == [750, 500, 250, 0]
    steps = respaced_timesteps("fast27", 1000)
    assert len(steps) == 27 and steps[:3] == [997, 800, 799] and 999 not in steps and steps[-1] == 0
    sections = respaced_timesteps("10,10,3,2,2", 1000)
    assert steps[1:] == sections[1:] and sections[0] == 999


@pytest.mark.parametrize(
    ("respacing", "message"),
    [
        ("", "unknown"),
        ("ddim", "unknown"),
        ("-3", "unknown"),
        ("1.5", "unknown"),
        ([], "unknown"),
        ("ddim0", "exactly 0 steps"),
        ("ddim999", "such as"),
        ("6,6", "section 0 has 5 timesteps"),
        ("0,0", "no step"),
    ],
)
def test_bad_respacings(respacing, message):
    with pytest.raises(InputError, match=message):
        respaced_timesteps(respacing, 10 if respacing == "6,6" else 1000)


def test_ddim_with_custom_timesteps():
    """Equal distances give the steps of diffusers' spacing; others go to the next timestep of the list."""
    rng = np.random.default_rng(0)
    sample, output = (paddle.to_tensor(rng.standard_normal((2, 3, 4, 4)).astype("float32")) for _ in range(2))
    spaced, custom = DDIMScheduler(), DDIMScheduler()
    spaced.set_timesteps(5)
    custom.set_timesteps(timesteps=respaced_timesteps("ddim5", 1000))
    for t in spaced.timesteps:
        one, other = (s.step(output, t, sample).prev_sample.numpy() for s in (spaced, custom))
        np.testing.assert_array_equal(one, other)
    custom.set_timesteps(timesteps=[900, 100])
    x, eps = sample.numpy().astype("float64"), output.numpy().astype("float64")
    alpha, before = (float(custom.alphas_cumprod[t]) for t in (900, 100))
    x0 = np.clip((x - (1 - alpha) ** 0.5 * eps) / alpha**0.5, -1, 1)
    expected = before**0.5 * x0 + (1 - before) ** 0.5 * eps
    np.testing.assert_allclose(custom.step(output, 900, sample).prev_sample.numpy(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="not in the schedule"):
        custom.step(output, 500, sample)
    custom.set_timesteps(5)  # back to the spacing
    assert custom.timesteps.tolist() == spaced.timesteps.tolist()


def test_bad_custom_timesteps():
    with pytest.raises(InputError, match="descending"):
        DDIMScheduler().set_timesteps(timesteps=[1, 2])
    with pytest.raises(InputError, match="exactly one"):
        DDIMScheduler().set_timesteps(5, timesteps=[2, 1])
    with pytest.raises(InputError, match="exactly one"):
        DDIMScheduler().set_timesteps()
    parallel = DDIMParallelScheduler()
    parallel.set_timesteps(timesteps=[900, 100])
    with pytest.raises(InputError, match="equal distance"):
        parallel.batch_step_no_noise(paddle.zeros([1, 1]), [900], paddle.zeros([1, 1]))
