"""Configurations: recording, freezing, JSON round trip, unknown and renamed keys."""

import json
import pickle

import numpy as np
import pytest

from ppdiffusers.core.config import ConfigMixin, FrozenDict, register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json


class Sampler(ConfigMixin):
    config_name = "sampler_config.json"
    ignore_for_config = ("secret",)
    ignored_config_keys = ("tensor_format",)
    renamed_config_keys = {"train_steps": "num_train_timesteps"}

    @register_to_config
    def __init__(self, num_train_timesteps=1000, beta_schedule="linear", betas=None, secret=None):
        self.seen = (num_train_timesteps, beta_schedule, betas)


class OtherSampler(ConfigMixin):
    @register_to_config
    def __init__(self, num_train_timesteps=50, beta_schedule="cosine"):
        pass


def test_arguments_and_defaults_are_recorded():
    sampler = Sampler(10, betas=[0.1])
    assert sampler.config.num_train_timesteps == 10
    assert sampler.config["beta_schedule"] == "linear"
    assert "secret" not in sampler.config
    assert sampler.seen == (10, "linear", [0.1])


def test_config_is_frozen():
    config = Sampler().config
    for change in (
        lambda: config.update(a=1),
        lambda: config.__setitem__("num_train_timesteps", 3),
        lambda: setattr(config, "num_train_timesteps", 3),
        lambda: config.pop("betas"),
    ):
        with pytest.raises(TypeError, match="frozen"):
            change()
    with pytest.raises(AttributeError, match="no key 'nothing'"):
        config.nothing
    assert pickle.loads(pickle.dumps(config)) == config and isinstance(config, FrozenDict)


def test_json_round_trip(tmp_path):
    sampler = Sampler(np.int64(7), "圆形", np.array([0.5, 0.25]))
    path = sampler.save_config(tmp_path / "made")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["_class_name"] == "Sampler" and "_use_default_values" not in written
    again = Sampler.from_config(Sampler.load_config(tmp_path / "made"))
    assert again.seen == (7, "圆形", [0.5, 0.25])
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["sampler_config.json"]


def test_defaults_of_another_class_are_not_applied():
    assert OtherSampler.from_config(Sampler().config).config.num_train_timesteps == 50
    assert OtherSampler.from_config(Sampler(1000).config).config.num_train_timesteps == 1000


def test_all_unknown_keys_are_listed(caplog):
    keys = {"rescale": True, "off": False, "none": None, "power": 2.0, "tensor_format": "pt"}
    sampler = Sampler.from_config(keys)
    assert "rescale=True, power=2.0." in caplog.text and "off" not in caplog.text
    assert sampler.config.rescale is True and len(caplog.records) == 1


def test_a_configuration_passed_as_arguments(caplog):
    sampler = Sampler.from_config({"num_train_timesteps": 5, "off": False, "rescale": True, "_class_name": "Sampler"})
    caplog.clear()
    again = Sampler(**sampler.config)
    assert again.seen == sampler.seen and again.config.rescale is True and "rescale=True" in caplog.text
    assert again.config._class_name == "Sampler"
    with pytest.raises(TypeError, match="rescale"):
        Sampler(rescale=True)
    copied = dict(sampler.config)
    del copied["_use_default_values"]
    assert "off" in copied


def test_values_are_deprecated_attributes():
    sampler = Sampler(10)
    with pytest.warns(FutureWarning, match=r"`num_train_timesteps`.*config\.num_train_timesteps"):
        assert sampler.num_train_timesteps == 10
    for name in ("nothing", "_use_default_values", "secret"):
        with pytest.raises(AttributeError, match=f"'Sampler' object has no attribute '{name}'"):
            getattr(sampler, name)
    assert not hasattr(Sampler.__new__(Sampler), "betas")


def test_repr_is_the_configuration():
    text = repr(Sampler(10, betas=object()))  # a value that JSON lacks
    assert text.startswith('Sampler {\n  "_class_name": "Sampler",') and '"num_train_timesteps": 10' in text
    assert text.endswith("}\n") and "object object" in text


def test_the_class_of_a_compatible_configuration_is_not_kept():
    assert OtherSampler.from_config({"_class_name": "Sampler"}).config._class_name == "OtherSampler"


def test_disabled_unknown_keys_are_kept():
    assert Sampler.from_config({"off": False, "tensor_format": "pt"}).config.tensor_format == "pt"


def test_overrides_renamed_and_unused():
    sampler, unused = Sampler.from_config({"train_steps": 5}, return_unused_kwargs=True, betas=[1], subfolder="x")
    assert sampler.seen == (5, "linear", [1]) and unused == {"subfolder": "x"}
    assert Sampler.from_config({}, train_steps=6).config.num_train_timesteps == 6


def test_from_config_requires_a_mapping():
    with pytest.raises(ConfigError, match="from_pretrained"):
        Sampler.from_config(["a/path"])
    with pytest.warns(FutureWarning, match="load_config"), pytest.raises(ConfigError, match="missing"):
        Sampler.from_config("a/path")  # deprecated in diffusers


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": 1}}'])
def test_damaged_json_is_a_config_error(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="config.json"):
        read_json(path)


def test_missing_json(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        read_json(tmp_path / "none.json")
