"""A small network with layers of every kind, and its state dicts in both frameworks."""

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.io.pretrained import PretrainedMixin


class Toy(PretrainedMixin, ConfigMixin, nn.Layer):
    """Linear layers (square, rectangular, tied), an embedding, a convolution, a norm, a bare parameter, a buffer."""

    config_name = "config.json"
    ignore_unexpected = (r"\.position_ids$",)

    @register_to_config
    def __init__(self, width: int = 4, out: int = 6):
        super().__init__()
        self.square = nn.Linear(width, width)
        self.oblong = nn.Linear(width, out)
        self.tied = nn.Linear(width, width)
        self.tied.weight = self.square.weight
        self.embedding = nn.Embedding(5, width)
        self.convolution = nn.Conv2D(3, 2, 3)
        self.norm = nn.GroupNorm(1, width)
        self.scale = self.create_parameter([1])
        self.frozen = self.create_parameter([2], attr=paddle.ParamAttr(trainable=False))
        self.register_buffer("ids", paddle.arange(4))

    def forward(self, x):  # [B, width] -> [B, out]
        return self.oblong(self.tied(self.square(x)) * self.scale)


def toy(seed: int = 0, **config) -> Toy:
    """Return a Toy with random values, in eval mode."""
    made, rng = Toy(**config), np.random.default_rng(seed)
    for parameter in made.parameters():
        parameter.set_value(rng.standard_normal(parameter.shape).astype("float32"))
    return made.eval()


def assert_same_state(one: nn.Layer, other: nn.Layer) -> None:
    """Compare keys, bits, dtypes and `stop_gradient`."""
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for key in ours:
        a, b = ours[key], theirs[key]
        assert a.dtype == b.dtype, key
        assert tuple(a.shape) == tuple(b.shape), key
        assert a.numpy().tobytes() == b.numpy().tobytes(), key
        assert a.stop_gradient == b.stop_gradient, key


def torch_state(layer: nn.Layer) -> dict:
    """Return the state dict of a PyTorch module of the same structure."""
    import torch

    linear = {"square.weight", "oblong.weight", "tied.weight"}
    arrays = {key: value.numpy() for key, value in layer.state_dict().items()}
    return {k: torch.from_numpy(np.ascontiguousarray(a.T if k in linear else a)) for k, a in arrays.items()}
