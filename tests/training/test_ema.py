"""EMAModel has diffusers' values, state and files."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.training_utils import EMAModel as OriginalEMA
from paddle import nn

from ppdiffusers import UNet2DModel
from ppdiffusers.core.errors import InputError
from ppdiffusers.training_utils import EMAModel

SETTINGS = [
    {},
    {"decay": 0.9, "min_decay": 0.3},
    {"use_ema_warmup": True, "inv_gamma": 2.0, "power": 0.75, "update_after_step": 3},
]


def tensors(values: list[np.ndarray], trained: list[bool]) -> list[paddle.Tensor]:
    made = [paddle.create_parameter(list(value.shape), "float32") for value in values]
    for tensor, value, train in zip(made, values, trained, strict=True):
        tensor.set_value(value)
        tensor.stop_gradient = not train
    return made


@pytest.mark.parametrize("settings", SETTINGS)
def test_averages_are_those_of_diffusers(settings):
    random = np.random.default_rng(0)
    trained = [True, False, True]
    values = [random.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5,), (2, 3, 1))]
    ours, theirs = tensors(values, trained), [torch.nn.Parameter(torch.tensor(v), t) for v, t in zip(values, trained)]
    ema, original = EMAModel(ours, **settings), OriginalEMA(theirs, **settings)
    for _ in range(12):
        for mine, other in zip(ours, theirs, strict=True):
            new = random.standard_normal(mine.shape).astype(np.float32)
            mine.set_value(new)
            other.data.copy_(torch.tensor(new))
        ema.step(ours)
        original.step(theirs)
        assert ema.cur_decay_value == original.cur_decay_value
    for mine, other in zip(ema.shadow_params, original.shadow_params, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-6, atol=1e-7)
    state, reference = ema.state_dict(), original.state_dict()
    assert {k: v for k, v in state.items() if k != "shadow_params"} == {
        k: v for k, v in reference.items() if k != "shadow_params"
    }


@pytest.mark.parametrize("settings", SETTINGS)
def test_decay_schedule(settings):
    ema, original = EMAModel([], **settings), OriginalEMA([], **settings)
    steps = (0, 1, 2, 3, 4, 5, 10, 100, 10_000, 1_000_000)
    assert [ema.get_decay(step) for step in steps] == [original.get_decay(step) for step in steps]


def test_copy_store_restore():
    layer = nn.Linear(3, 2)
    ema = EMAModel(layer.parameters(), decay=0.5, min_decay=0.5)
    before = [p.numpy().copy() for p in layer.parameters()]
    for parameter in layer.parameters():
        parameter.set_value(parameter + 1.0)
    ema.step(
        layer.parameters()
    )  # the first step has decay 0 below `update_after_step`, here it is skipped by min_decay
    current = [p.numpy().copy() for p in layer.parameters()]
    ema.store(layer.parameters())
    ema.copy_to(layer.parameters())
    assert all(np.array_equal(p.numpy(), s.numpy()) for p, s in zip(layer.parameters(), ema.shadow_params, strict=True))
    ema.restore(layer.parameters())
    assert all(np.array_equal(p.numpy(), c) for p, c in zip(layer.parameters(), current, strict=True))
    assert not any(np.array_equal(b, c) for b, c in zip(before, current, strict=True))
    with pytest.raises(InputError, match="No parameters are stored"):
        ema.restore(layer.parameters())


def test_state_dict_round_trip():
    layer = nn.Linear(3, 2)
    ema = EMAModel(layer.parameters(), decay=0.7, use_ema_warmup=True)
    for _ in range(3):
        ema.step(layer.parameters())
    other = EMAModel(nn.Linear(3, 2).parameters())
    other.load_state_dict(ema.state_dict())
    assert other.optimization_step == 3 and other.decay == 0.7 and other.use_ema_warmup
    for one, two in zip(ema.shadow_params, other.shadow_params, strict=True):
        assert one is not two and np.array_equal(one.numpy(), two.numpy())


def test_bad_states_and_arguments_are_listed():
    ema = EMAModel(nn.Linear(3, 2).parameters())
    with pytest.raises(InputError, match="optimization_step is 'many'\n.*use_ema_warmup is 1\n.*shadow_params"):
        ema.load_state_dict({"optimization_step": "many", "use_ema_warmup": 1, "shadow_params": 3})
    with pytest.raises(InputError, match="decay is 1.5"):
        ema.load_state_dict({"decay": 1.5})
    with pytest.raises(InputError, match="surprise=1"):
        EMAModel([], surprise=1)
    with pytest.raises(InputError, match="1 parameters, 2 averages"):
        ema.step([nn.Linear(3, 2).weight])
    with pytest.raises(InputError, match="model_cls is missing\n.*model_config is missing"):
        ema.save_pretrained("nowhere")


def test_legacy_arguments_warn():
    with pytest.warns(FutureWarning, match="max_value.*Use `decay`"):
        assert EMAModel([], max_value=0.5).decay == 0.5


def test_to_casts_floating_point_tensors():
    ema = EMAModel([paddle.ones([2]), paddle.ones([2], dtype="int64")])
    ema.to(dtype="float64")
    assert [str(one.dtype) for one in ema.shadow_params] == ["paddle.float64", "paddle.int64"]


CONFIG = {
    "sample_size": 8,
    "block_out_channels": (32, 32),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
}


def test_files(tmp_path):
    """Saved averages load here, as a model, and in diffusers after a conversion of the weights."""
    model = UNet2DModel(**CONFIG)
    ema = EMAModel(model.parameters(), decay=0.8, model_cls=UNet2DModel, model_config=model.config)
    for parameter in model.parameters():
        parameter.set_value(parameter + 0.5)
    for _ in range(4):
        ema.step(model.parameters())
    ema.save_pretrained(tmp_path)
    loaded = EMAModel.from_pretrained(tmp_path, UNet2DModel)
    assert loaded.optimization_step == 4 and loaded.decay == 0.8
    for one, two in zip(ema.shadow_params, loaded.shadow_params, strict=True):
        assert np.array_equal(one.numpy(), two.numpy())
    averaged = UNet2DModel.from_pretrained(tmp_path)
    assert np.array_equal(averaged.parameters()[0].numpy(), ema.shadow_params[0].numpy())


def test_files_of_diffusers_load(tmp_path):
    model = diffusers.UNet2DModel(**CONFIG)
    original = OriginalEMA(model.parameters(), decay=0.6, model_cls=diffusers.UNet2DModel, model_config=model.config)
    for _ in range(3):
        original.step(model.parameters())
    original.save_pretrained(tmp_path)
    ema = EMAModel.from_pretrained(tmp_path, UNet2DModel)
    assert ema.optimization_step == 3 and ema.decay == 0.6
    names = [name for name, _ in model.named_parameters()]
    ours = dict(zip([name for name, _ in UNet2DModel(**CONFIG).named_parameters()], ema.shadow_params, strict=True))
    theirs = dict(zip(names, original.shadow_params, strict=True))
    assert np.array_equal(ours["conv_in.weight"].numpy(), theirs["conv_in.weight"].numpy())
