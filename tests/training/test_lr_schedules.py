"""Learning rate schedules have the values of diffusers', at every step."""

import diffusers.optimization as original
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import optimization
from ppdiffusers.core.errors import InputError

STEPS = 40
SETTINGS = {
    "constant": {},
    "constant_with_warmup": {"num_warmup_steps": 7},
    "piecewise_constant": {"step_rules": "1:10,0.1:20,0.005"},
    "linear": {"num_warmup_steps": 5, "num_training_steps": 30},
    "cosine": {"num_warmup_steps": 5, "num_training_steps": 30},
    "cosine_with_restarts": {"num_warmup_steps": 0, "num_training_steps": 30, "num_cycles": 3},
    "polynomial": {"num_warmup_steps": 5, "num_training_steps": 30, "power": 2.0},
}


def reference(make, rate: float) -> list[float]:
    """Learning rates of `STEPS` steps in PyTorch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedule = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def values(schedule) -> list[float]:
    rates = []
    for _ in range(STEPS):
        rates.append(schedule())
        schedule.step()
    return rates


@pytest.mark.parametrize("name", SETTINGS)
def test_get_scheduler(name):
    expected = reference(lambda optimizer: original.get_scheduler(name, optimizer, **SETTINGS[name]), 3e-4)
    ours = optimization.get_scheduler(name, 3e-4, **SETTINGS[name])
    np.testing.assert_allclose(values(ours), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        ("get_cosine_schedule_with_warmup", {"num_warmup_steps": 3, "num_training_steps": 25, "num_cycles": 2.5}),
        (
            "get_polynomial_decay_schedule_with_warmup",
            {"num_warmup_steps": 3, "num_training_steps": 25, "lr_end": 1e-4},
        ),
    ],
)
def test_functions(function, settings):
    expected = reference(lambda optimizer: getattr(original, function)(optimizer, **settings), 1e-3)
    np.testing.assert_allclose(values(getattr(optimization, function)(1e-3, **settings)), expected, rtol=1e-12, atol=0)


def test_every_schedule_of_diffusers_exists():
    assert {kind.value for kind in original.SchedulerType} == set(SETTINGS)
    missing = [name for name in vars(original) if name.startswith("get_") and not hasattr(optimization, name)]
    assert not missing


def test_resumed_schedule_continues():
    whole = values(optimization.get_scheduler("linear", 1e-3, num_warmup_steps=5, num_training_steps=60))
    rest = optimization.get_scheduler("linear", 1e-3, num_warmup_steps=5, num_training_steps=60, last_epoch=9)
    assert values(rest)[:30] == whole[10:40]


def test_three_ways_to_give_the_learning_rate():
    """As an optimizer (diffusers), by position and by keyword (ppdiffusers 0.29)."""
    weight = paddle.create_parameter([1], "float32")
    optimizer = paddle.optimizer.SGD(learning_rate=2e-3, parameters=[weight])
    schedule = optimization.get_scheduler("constant_with_warmup", optimizer=optimizer, num_warmup_steps=4)
    assert optimizer.get_lr() == 0.0
    for _ in range(2):
        schedule.step()
    assert optimizer.get_lr() == pytest.approx(1e-3)
    by_position = optimization.get_scheduler("constant_with_warmup", 2e-3, num_warmup_steps=4)
    by_keyword = optimization.get_scheduler("constant_with_warmup", learning_rate=2e-3, num_warmup_steps=4)
    assert values(by_position) == values(by_keyword)


def test_errors_list_what_is_missing():
    with pytest.raises(InputError, match="num_warmup_steps is missing\n.*num_training_steps is missing"):
        optimization.get_scheduler("cosine", 1e-3)
    with pytest.raises(InputError, match="expected: linear, cosine"):
        optimization.get_scheduler("exponential", 1e-3)
    with pytest.raises(InputError, match="step rules cannot be read"):
        optimization.get_scheduler("piecewise_constant", 1e-3, step_rules="1:ten,2")
    with pytest.raises(InputError, match="lr_end"):
        optimization.get_polynomial_decay_schedule_with_warmup(1e-8, num_warmup_steps=0, num_training_steps=10)
