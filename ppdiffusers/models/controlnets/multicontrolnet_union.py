"""Several ControlNets for several control types as one: their residuals are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppdiffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.numbered_networks import NumberedNetworks


class MultiControlNetUnionModel(NumberedNetworks):
    """Add the residuals of several `ControlNetUnionModel`; networks whose scale is 0 do not run.

    Args:
        controlnets: networks for the same UNet.
    """

    _network = ControlNetUnionModel

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
        self._check_lists(
            controlnet_cond=controlnet_cond,
            control_type=control_type,
            control_type_idx=control_type_idx,
            conditioning_scale=conditioning_scale,
        )
        down, middle = self._sum(
            [
                network(
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
                for network, images, types, indices, scale in zip(
                    self.nets, controlnet_cond, control_type, control_type_idx, conditioning_scale, strict=True
                )
                if scale != 0
            ]
        )
        return ControlNetOutput(down, middle) if return_dict else (down, middle)
