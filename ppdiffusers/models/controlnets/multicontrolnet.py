"""Several ControlNets as one: their residuals are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.controlnets.controlnet import ControlNetModel
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.numbered_networks import NumberedNetworks


class MultiControlNetModel(NumberedNetworks):
    """Add the residuals of several ControlNets.

    It is saved as diffusers saves it: each network in a separate folder, `controlnet`, `controlnet_1`, ...

    Args:
        controlnets: networks for the same UNet.
    """

    def __init__(self, controlnets: Sequence[ControlNetModel]):
        super().__init__()
        self.nets = nn.LayerList(controlnets)

    @property
    def _networks(self) -> nn.LayerList:
        return self.nets

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        encoder_hidden_states: paddle.Tensor,
        controlnet_cond: Sequence[paddle.Tensor],
        conditioning_scale: Sequence[float | paddle.Tensor],
        class_labels: paddle.Tensor | None = None,
        timestep_cond: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guess_mode: bool = False,
        return_dict: bool = True,
    ) -> ControlNetOutput | tuple[tuple[paddle.Tensor, ...], paddle.Tensor]:
        """Compute the sum of the residuals.

        Args:
            controlnet_cond, conditioning_scale: lists with one entry for each network. The other arguments are those of
                `ControlNetModel`.

        Raises:
            InputError: a list has another length.
        """
        lengths = {"controlnet_cond": len(controlnet_cond), "conditioning_scale": len(conditioning_scale)}
        problems = [
            f"{name} has {length} entries for {len(self.nets)} ControlNets"
            for name, length in lengths.items()
            if length != len(self.nets)
        ]
        if problems:
            raise InputError("The inputs do not fit this MultiControlNetModel.", problems=problems)
        down: tuple[paddle.Tensor, ...] = ()
        middle = None
        for network, image, scale in zip(self.nets, controlnet_cond, conditioning_scale, strict=True):
            more, mid = network(
                sample,
                timestep,
                encoder_hidden_states,
                image,
                scale,
                class_labels=class_labels,
                timestep_cond=timestep_cond,
                attention_mask=attention_mask,
                added_cond_kwargs=added_cond_kwargs,
                cross_attention_kwargs=cross_attention_kwargs,
                guess_mode=guess_mode,
                return_dict=False,
            )
            down = tuple(a + b for a, b in zip(down, more, strict=True)) if down else more
            middle = mid if middle is None else middle + mid
        return ControlNetOutput(down, middle) if return_dict else (down, middle)
