"""Residuals of ControlNets for the UNet, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel

if TYPE_CHECKING:
    from ppdiffusers.models.controlnets.controlnet import ControlNetModel
    from ppdiffusers.schedulers.common.types import Scheduler


def one_each(value: Any, count: int) -> list[Any]:
    """A list as it is; any other value once for each ControlNet."""
    return list(value) if isinstance(value, list | tuple) else [value] * count


class ControlNetGuide:
    """Compute the arguments of the UNet that ControlNets add: `(index, latents, t, prompt_embeds) -> kwargs`.

    Steps outside of the interval of all ControlNets skip the networks.

    Args:
        image: control images [n * B, C, H, W] (in guess mode [B, C, H, W]), or a list with such a tensor for each
            ControlNet. A callback may replace it.
        scale, start, end: factor of the residuals, and the fractions of the steps between which a ControlNet is
            applied; a number, or a list with one for each ControlNet.
        guess_mode: apply the ControlNets to the predictions with the prompt only.
        num_steps: number of steps of the call.
    """

    def __init__(
        self,
        controlnet: ControlNetModel | MultiControlNetModel,
        scheduler: Scheduler,
        image: paddle.Tensor | list[paddle.Tensor],
        *,
        scale: float | Sequence[float],
        start: float | Sequence[float],
        end: float | Sequence[float],
        guess_mode: bool,
        num_steps: int,
    ):
        self.controlnet, self.scheduler, self.image = controlnet, scheduler, image
        count = len(networks_of(controlnet))
        self.intervals = list(zip(*(one_each(value, count) for value in (scale, start, end)), strict=True))
        self.guess_mode, self.num_steps = guess_mode, num_steps

    def __call__(self, index: int, latents: paddle.Tensor, t: Any, prompt_embeds: paddle.Tensor) -> dict[str, Any]:
        """Keyword arguments of the UNet for latents [B, C, h, w] and embeddings [n * B, L, D]."""
        scales = self.scales(index)
        if not any(scales):
            return {}
        batch = latents.shape[0]
        copies = prompt_embeds.shape[0] // batch
        conditional_only = self.guess_mode and copies > 1
        if conditional_only:
            prompt_embeds, missing, copies = prompt_embeds[-batch:], copies - 1, 1
        model_input = self.scheduler.scale_model_input(paddle.concat([latents] * copies), t)
        several = isinstance(self.controlnet, MultiControlNetModel)
        image = [self._batch(one, batch * copies) for one in (self.image if several else [self.image])]
        down, middle = self.controlnet(
            model_input,
            t,
            encoder_hidden_states=prompt_embeds,
            controlnet_cond=image if several else image[0],
            conditioning_scale=scales if several else scales[0],
            guess_mode=self.guess_mode,
            return_dict=False,
        )
        if conditional_only:
            # the predictions without the prompt stay as they are
            down = tuple(paddle.concat([paddle.zeros_like(d)] * missing + [d]) for d in down)
            middle = paddle.concat([paddle.zeros_like(middle)] * missing + [middle])
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def scales(self, index: int) -> list[float]:
        """The scale of each ControlNet in a step; 0 outside of its interval."""
        first, last = index / self.num_steps, (index + 1) / self.num_steps
        return [float(scale) if first >= start and last <= end else 0.0 for scale, start, end in self.intervals]

    @staticmethod
    def _batch(image: paddle.Tensor, batch: int) -> paddle.Tensor:
        """The last images: a callback that ends guidance early leaves one copy of the latents."""
        return image[-batch:] if image.shape[0] > batch else image


def networks_of(controlnet: ControlNetModel | MultiControlNetModel) -> list[ControlNetModel]:
    """The ControlNets as a list."""
    return list(controlnet.nets) if isinstance(controlnet, MultiControlNetModel) else [controlnet]


def needs_guess_mode(controlnet: ControlNetModel | MultiControlNetModel) -> bool:
    """Whether the residuals are averaged over height and width, which requires guess mode."""
    return bool(networks_of(controlnet)[0].config.global_pool_conditions)
