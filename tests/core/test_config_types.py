"""Types of configuration values: wrong ones are listed in one error, what diffusers accepts is accepted."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ppdiffusers import registry
from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.core.config_types import built_from_configuration, check_like_defaults, raise_impossible
from ppdiffusers.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from somewhere import Unknown


class Configured(ConfigMixin):
    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        width: int = 4,
        scale: float = 1.0,
        name: str = "a",
        flag: bool = False,
        channels: tuple[int, ...] = (1, 2),
        sizes: int | tuple[int, int] = 2,
        betas: np.ndarray | Sequence[float] | None = None,
        size: Mapping[str, int] | int | None = None,
        function: Callable[[float], float] | None = None,
        other: "Unknown" = 1,
        free=None,
        hidden: float | None = 3.0,
    ):
        self.sum = width + 1
        if scale is None:
            raise TypeError("scale is needed")


ACCEPTED = [
    {"scale": 1, "hidden": 2, "channels": [1, 2, 3], "sizes": [3, 4], "betas": [0.1, 1], "size": {"height": 3}},
    {"scale": 1.5, "flag": None, "betas": None, "size": None, "hidden": None, "function": None},
    {"flag": 1, "betas": np.ones(3), "other": ["anything"], "free": {"any": "thing"}, "size": 7, "width": np.int64(3)},
    {"name": None, "channels": None},  # null for values that are not used, as diffusers accepts it
    {"function": abs},
]


@pytest.mark.parametrize("values", ACCEPTED)
def test_accepted(values):
    made = Configured.from_config(values)
    assert all(made.config[key] is value for key, value in values.items())


REFUSED = {
    "width": ["4", 4.0, [4], {"a": 4}],
    "scale": ["1.0", [1.0]],
    "name": [3, ["a"], True],
    "flag": ["true", 2, [True]],
    "channels": [3, "12", [1, "2"], [1, [2]], {"0": 1}],
    "sizes": ["2", ["a", "b"], 2.5],
    "betas": [0.1, "linear", ["a"]],
    "size": ["224", {"height": "224"}, [224]],
    "function": ["abs", 3],
    "hidden": ["1", [1]],
}


def test_all_wrong_types_are_in_one_error():
    for n in range(2):
        values = {key: wrong[n] for key, wrong in REFUSED.items()}
        with pytest.raises(ConfigError) as error:
            Configured.from_config({**values, "free": 1})
        assert len(error.value.problems) == len(REFUSED)
        for key in REFUSED:
            assert any(
                problem.startswith(f"{key}: expected ") and ", found " in problem for problem in error.value.problems
            )


@pytest.mark.parametrize("key", REFUSED)
def test_each_wrong_type(key):
    for value in REFUSED[key]:
        with pytest.raises(ConfigError, match=f"{key}: expected"):
            Configured.from_config({key: value})


def test_null_where_a_value_is_needed():
    with pytest.raises(ConfigError) as error:
        Configured.from_config({"width": None, "scale": None})
    assert error.value.problems == ["width: expected an integer, found null", "scale: expected a number, found null"]


def test_messages_are_short():
    with pytest.raises(ConfigError) as error:
        Configured.from_config({"width": "x" * 10**6, "name": [[["a"] * 1000] * 1000]})
    assert len(str(error.value)) < 1000


def test_what_is_asked_for_is_limited():
    class Trained(ConfigMixin):
        @register_to_config
        def __init__(
            self, num_train_timesteps: int = 10, layers_per_block: int = 1, down_block_types: tuple[str, ...] = ()
        ):
            raise AssertionError("it was built")

    for values in (
        {"num_train_timesteps": 10**10},
        {"num_train_timesteps": 0},
        {"layers_per_block": 10**6},
        {"layers_per_block": 100, "down_block_types": ["a"] * 100},
    ):
        with pytest.raises(ConfigError, match="asks for the impossible"):
            Trained.from_config(values)


def test_types_of_defaults():
    defaults: dict[str, Any] = {"width": 3, "eps": 1e-5, "act": "gelu", "flag": True, "depths": [1], "pad_token_id": 1}
    good = {"width": 4, "eps": 1, "act": "relu", "flag": None, "depths": None, "pad_token_id": None, "new": object()}
    check_like_defaults("Text", {**good, "image_size": [1, 2]}, defaults)
    wrong = {"width": "4", "eps": "1e-5", "act": 3, "flag": "no", "depths": 3, "pad_token_id": "1"}
    with pytest.raises(ConfigError) as error:
        check_like_defaults("Text", wrong, defaults)
    assert len(error.value.problems) == len(wrong)


def test_errors_of_constructors_name_the_file():
    with (
        pytest.raises(ConfigError, match="Thing cannot be built .*KeyError") as error,
        built_from_configuration("Thing", "a.json"),
    ):
        {}["missing"]
    assert error.value.where == "a.json" and "a.json" in str(error.value)
    with pytest.raises(InputError, match="wrong") as error, built_from_configuration("Thing", "a.json"):
        raise InputError("wrong")
    assert "where: a.json" in str(error.value)
    with pytest.raises(KeyboardInterrupt), built_from_configuration("Thing", "a.json"):
        raise KeyboardInterrupt


# Published values that decide the number of layers.
PUBLISHED = {
    "CompVis/ldm-text2im-large-256": {"encoder_layers": 32, "num_hidden_layers": 32},
    "google/t5-v1_1-xxl": {"num_layers": 24, "num_decoder_layers": 24},
    "BAAI/AltDiffusion": {"num_hidden_layers": 24},
    "Intel/dpt-large": {"num_hidden_layers": 24, "neck_hidden_sizes": [256, 512, 1024, 1024]},
    "microsoft/vq-diffusion-ithq": {"num_layers": 36},
    "stabilityai/stable-diffusion-xl-base-1.0": {
        "down_block_types": ["a"] * 3,
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, 2, 10],
    },
    "DeepFloyd/IF-II-L-v1.0": {"down_block_types": ["a"] * 5, "layers_per_block": [1, 2, 4, 8, 8]},
}
IMPOSSIBLE = [
    {"blocks": 10**6},
    {"num_layers": 24, "num_decoder_layers": 10**6},
    {"num_res_blocks": 501},
    {"upsample_ratios": [2] * 501},
    {"block_out_channels": [8] * 501},
    {"hidden_sizes": [8] * 100, "depths": [6] * 100},
    {"transformer_layers_per_block": [1, 10], "layers_per_block": 30, "up_block_types": ["a"] * 2},
]


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_numbers_of_layers_are_accepted(model):
    raise_impossible(model, PUBLISHED[model])


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=str)
def test_impossible_numbers_of_layers(values):
    with pytest.raises(ConfigError, match="layers, expected at most") as error:
        raise_impossible("Net", values)
    assert all(key in str(error.value) for key in values)


@pytest.mark.parametrize("steps", [10**10, 10**6, 0, -5])
def test_an_absurd_number_of_training_timesteps(steps):
    for entry in registry.entries("scheduler"):
        cls = entry.load()
        if "num_train_timesteps" in cls.init_parameters():
            with pytest.raises(ConfigError, match="num_train_timesteps"):
                cls.from_config({"num_train_timesteps": steps, **REQUIRED.get(entry.name, {})})


REQUIRED = {"VQDiffusionScheduler": {"num_vec_classes": 9}}
ABSURD = {
    "KarrasVeScheduler": [{"sigma_max": 1e300}, {"sigma_min": 1e-300}, {"sigma_max": -1}, {"sigma_min": 10**18}],
    "CMStochasticIterativeScheduler": [{"sigma_max": -80.0}, {"sigma_min": 2**64}],
    "EDMEulerScheduler": [{"sigma_min": -1.0}, {"sigma_max": 1e300}],
    "FlowMatchEulerDiscreteScheduler": [{"use_exponential_sigmas": True, "shift": 0.0}],
    "DDIMScheduler": [{"steps_offset": None}],
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_noise_levels_and_offsets(name):
    for values in ABSURD[name]:
        with pytest.raises(ConfigError, match="noise levels|steps_offset"):
            registry.find(name).load().from_config(values).set_timesteps(3)
