"""The moving average of a network's weights with the interface of latent-diffusion's training code."""

from __future__ import annotations

from collections.abc import Iterable

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError


class LitEma(nn.Layer):
    """Exponential moving average of the trainable parameters of a network, in float32.

    Call it with the network after each optimizer step. With `use_num_upates` the decay is
    `min(decay, (1 + n) / (10 + n))` after n calls. The averages are buffers named by their parameters without the dots,
    as in files of latent-diffusion and ppdiffusers 0.29.

    Args:
        model: the network.
        decay: upper limit of the decay, in [0, 1].
        use_num_upates: whether the decay rises with the number of calls (spelled as in ppdiffusers 0.29).

    Raises:
        InputError: the decay is not in [0, 1], or two parameters have the same name without dots.
    """

    def __init__(self, model: nn.Layer, decay: float = 0.9999, use_num_upates: bool = True):
        super().__init__()
        if not 0 <= decay <= 1:
            raise InputError("The decay is out of range.", where=f"{decay=}", expected="a number in [0, 1]")
        self.decay = decay
        self.num_updates = 0 if use_num_upates else -1
        self.m_name2s_name: dict[str, str] = {}
        self.collected_params: list[paddle.Tensor] = []
        for name, parameter in _trainable(model).items():
            shadow = name.replace(".", "")
            if shadow in self._buffers:
                raise InputError(f"Two parameters are named {shadow!r} without dots.", where=name)
            self.m_name2s_name[name] = shadow
            self.register_buffer(shadow, parameter.detach().astype("float32").clone())

    @paddle.no_grad()
    def forward(self, model: nn.Layer) -> None:
        """Move the averages towards the weights of `model`."""
        decay = self.decay
        if self.num_updates >= 0:
            self.num_updates += 1
            decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, parameter in _trainable(model).items():
            average = self._average(name)
            average.set_value(average * decay + parameter.astype("float32") * (1 - decay))

    @paddle.no_grad()
    def copy_to(self, model: nn.Layer) -> None:
        """Replace the trainable weights of `model` by the averages."""
        for name, parameter in _trainable(model).items():
            parameter.set_value(self._average(name).astype(parameter.dtype))

    def store(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Keep a copy of the parameters, for `restore`."""
        self.collected_params = [parameter.detach().clone() for parameter in parameters]

    @paddle.no_grad()
    def restore(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Write the copies of `store` back into the parameters, and forget them."""
        for kept, parameter in zip(self.collected_params, parameters, strict=True):
            parameter.set_value(kept.astype(parameter.dtype))
        self.collected_params = []

    def _average(self, name: str) -> paddle.Tensor:
        if name not in self.m_name2s_name:
            raise InputError("The parameter has no average: it was frozen, or belongs to another network.", where=name)
        return self._buffers[self.m_name2s_name[name]]


def _trainable(model: nn.Layer) -> dict[str, paddle.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if not parameter.stop_gradient}
