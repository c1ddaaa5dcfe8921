"""Several ControlNets for several control types as one: their residuals are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.numbered_networks import NumberedNetworks


class MultiControlNetUnionModel(NumberedNetworks):
    """Add the residuals of several `ControlNetUnionModel`; networks whose scale is 0 do not run.

    It is saved as `MultiControlNetModel` is: each network in a separate folder, `controlnet`, `controlnet_1`, ...

    Args:
        controlnets: networks for the same UNet.
    """

    def __init__(self, controlnets: Sequence[ControlNetUnionModel]):
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
        controlnet_cond: Sequence[Sequence[paddle.Tensor]],
        control_type: Sequence[paddle.Tensor],
        control_type_idx: Sequence[Sequence[int]],
        conditioning_scale: Sequence[float],
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
            controlnet_cond, control_type, control_type_idx, conditioning_scale: lists with one entry for each network:
                its control images, types and scale. The other arguments are those of `ControlNetUnionModel`.

        Raises:
            InputError: a list has another length, or all scales are 0.
        """
        lists = {
            "controlnet_cond": controlnet_cond,
            "control_type": control_type,
            "control_type_idx": control_type_idx,
            "conditioning_scale": conditioning_scale,
        }
        problems = [
            f"{name} has {len(entries)} entries for {len(self.nets)} ControlNets"
            for name, entries in lists.items()
            if len(entries) != len(self.nets)
        ]
        if not problems and not any(conditioning_scale):
            problems.append("conditioning_scale is 0 for all ControlNets")
        if problems:
            raise InputError("The inputs do not fit this MultiControlNetUnionModel.", problems=problems)
        down: tuple[paddle.Tensor, ...] = ()
        middle = None
        for network, images, types, indices, scale in zip(
            self.nets, controlnet_cond, control_type, control_type_idx, conditioning_scale, strict=True
        ):
            if scale == 0:
                continue
            more, mid = network(
                sample,
                timestep,
                encoder_hidden_states,
                images,
                types,
                indices,
                scale,
                class_labels=class_labels,
                timestep_cond=timestep_cond,
                attention_mask=attention_mask,
                added_cond_kwargs=added_cond_kwargs,
                cross_attention_kwargs=cross_attention_kwargs,
                from_multi=True,
                guess_mode=guess_mode,
                return_dict=False,
            )
            down = tuple(a + b for a, b in zip(down, more, strict=True)) if down else more
            middle = mid if middle is None else middle + mid
        return ControlNetOutput(down, middle) if return_dict else (down, middle)
