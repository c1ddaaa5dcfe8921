"""Small conventions of diffusers that scripts rely on."""

from dataclasses import dataclass

import numpy as np

from ppdiffusers.configuration_utils import ConfigMixin, register_to_config
from ppdiffusers.utils import BaseOutput


@dataclass
class Output(BaseOutput):
    images: np.ndarray
    flags: list | None = None


class Configured(ConfigMixin):
    config_name = "config.json"

    @register_to_config
    def __init__(self, a=2, c=(2, 5)):
        pass


def test_outputs_from_a_dictionary():
    images = np.zeros((1, 2))
    for output in (Output({"images": images}), Output({"images": images, "flags": [True]})):
        assert output.images is output["images"] is output[0] is images
    assert output.flags == [True] and list(output.keys()) == ["images", "flags"]
    assert Output({"images": images}).flags is None


def test_private_keys_are_recorded_and_are_not_arguments():
    made = Configured(_name_or_path="somewhere", a=3)
    assert (made.config._name_or_path, made.config.a, made.config.c) == ("somewhere", 3, (2, 5))
