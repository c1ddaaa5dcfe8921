"""Helpers of ppdiffusers 0.29 that load state dictionaries and copy them into layers."""

import numpy as np
import paddle
import pytest
import torch
from paddle import nn
from safetensors.torch import save_file

from ppdiffusers.core.errors import SourceError
from ppdiffusers.models.modeling_pytorch_paddle_utils import convert_pytorch_state_dict_to_paddle
from ppdiffusers.models.modeling_utils import ContextManagers, faster_set_state_dict, no_init_weights
from ppdiffusers.utils import _get_model_file, smart_load


@pytest.fixture
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    made[1].running_mean.uniform_()
    return made.eval()


def layer() -> nn.Layer:
    made = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1D(3))
    made.eval()
    return made


@pytest.mark.parametrize("lazy", [False, True])
def test_a_module_becomes_a_layer(module, lazy, tmp_path):
    torch.save(module.state_dict(), tmp_path / "model.bin")
    if lazy:
        with paddle.LazyGuard():
            ours = layer()
    else:
        ours = layer()
    state = convert_pytorch_state_dict_to_paddle(ours, smart_load(tmp_path / "model.bin"))
    state["unknown"] = paddle.zeros([1])
    faster_set_state_dict(ours, state)
    assert list(state) == ["unknown"]
    x = np.random.default_rng(0).standard_normal((2, 3)).astype("float32")
    with torch.no_grad():
        expected = module(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(paddle.to_tensor(x)).numpy(), expected, atol=1e-6)


def test_smart_load(tmp_path):
    tensors = {"a": torch.arange(3.0).bfloat16(), "global_step": torch.tensor(7)}
    save_file(tensors, tmp_path / "a.safetensors")
    loaded = smart_load(tmp_path / "a.safetensors", return_is_torch_weight=True)
    assert loaded["a"].dtype == paddle.bfloat16 and loaded["is_torch_weight"] is True and "global_step" not in loaded
    arrays = smart_load(tmp_path / "a.safetensors", return_numpy=True, return_global_step=True)
    assert np.array_equal(arrays["a"], [0, 1, 2]) and arrays["global_step"] == 7
    paddle.save({"b": paddle.ones([2])}, str(tmp_path / "b.pdparams"))
    assert smart_load(tmp_path / "b.pdparams", return_is_torch_weight=True)["is_torch_weight"] is False


def test_the_file_of_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "w.bin"
    file.write_bytes(b"")
    assert _get_model_file(tmp_path, weights_name="w.bin", subfolder="sub") == str(file)
    assert _get_model_file(file, weights_name="w.bin") == str(file)
    with pytest.raises(SourceError, match=r"other\.bin"):
        _get_model_file(tmp_path, weights_name="other.bin")


def test_context_managers():
    entered = []

    class Manager:
        def __enter__(self):
            entered.append("in")

        def __exit__(self, *error):
            entered.append("out")

    with ContextManagers([Manager(), Manager(), no_init_weights(_enable=True)]):
        assert entered == ["in", "in"]
    assert entered == ["in", "in", "out", "out"]
