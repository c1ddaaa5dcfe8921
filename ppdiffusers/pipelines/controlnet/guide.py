"""Residuals of ControlNets for the UNet, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from ppdiffusers.pipelines.stages.denoise import GuidedPrediction, Tensors

if TYPE_CHECKING:
    from ppdiffusers.models.controlnets.controlnet import ControlNetModel
    from ppdiffusers.schedulers.common.types import Scheduler


def one_each(value: Any, count: int) -> list[Any]:
    """A list as it is; any other value once for each ControlNet."""
    return list(value) if isinstance(value, list | tuple) else [value] * count


class ControlNetGuide:
    """Compute the arguments of the UNet that ControlNets add: `(index, t, tensors) -> kwargs`.

    Steps outside of the interval of all ControlNets skip the networks.

    Args:
        name: of the control images among the tensors: [n * B, C, H, W] (in guess mode [B, C, H, W]), or a list with
            such a tensor for each ControlNet. A callback may replace them.
        intervals: scale, start and end for each ControlNet: the factor of its residuals, and the fractions of the steps
            between which it is applied.
        guess_mode: apply the ControlNets to the predictions with the prompt only.
        num_steps: number of steps of the call.
    """

    def __init__(
        self,
        controlnet: ControlNetModel | MultiControlNetModel,
        scheduler: Scheduler,
        *,
        name: str,
        intervals: Sequence[tuple[float, float, float]],
        guess_mode: bool,
        num_steps: int,
    ):
        self.controlnet, self.scheduler, self.name = controlnet, scheduler, name
        self.intervals, self.guess_mode, self.num_steps = intervals, guess_mode, num_steps

    def __call__(self, index: int, t: Any, tensors: Tensors) -> dict[str, Any]:
        """Keyword arguments of the UNet for latents [B, C, h, w] and embeddings [n * B, L, D]."""
        scales = self.scales(index)
        if self.skips(scales):
            return {}
        latents, prompt_embeds = tensors["latents"], tensors["prompt_embeds"]
        added = GuidedPrediction.added(tensors)
        batch = latents.shape[0]
        copies = prompt_embeds.shape[0] // batch
        conditional_only = self.guess_mode and copies > 1
        if conditional_only:
            prompt_embeds, missing, copies = prompt_embeds[-batch:], copies - 1, 1
            added = {key: value[-batch:] for key, value in added.items()}
        model_input = self.scheduler.scale_model_input(paddle.concat([latents] * copies), t)
        down, middle = self.controlnet(
            model_input,
            t,
            encoder_hidden_states=prompt_embeds,
            **self.arguments(tensors[self.name], scales, batch * copies),
            guess_mode=self.guess_mode,
            return_dict=False,
            **({"added_cond_kwargs": added} if added else {}),
        )
        if conditional_only:
            # the predictions without the prompt stay as they are
            down = tuple(paddle.concat([paddle.zeros_like(d)] * missing + [d]) for d in down)
            middle = paddle.concat([paddle.zeros_like(middle)] * missing + [middle])
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def arguments(self, images: Any, scales: list[float], batch: int) -> dict[str, Any]:
        """Control images and scales, as the network accepts them."""
        several = isinstance(self.controlnet, MultiControlNetModel)
        images = [self.last(image, batch) for image in (images if several else [images])]
        return {
            "controlnet_cond": images if several else images[0],
            "conditioning_scale": scales if several else scales[0],
        }

    def scales(self, index: int) -> list[float]:
        """The scale of each ControlNet in a step; 0 outside of its interval."""
        first, last = index / self.num_steps, (index + 1) / self.num_steps
        return [float(scale) if first >= start and last <= end else 0.0 for scale, start, end in self.intervals]

    def skips(self, scales: list[float]) -> bool:
        """Whether the residuals are zero with these scales."""
        return not any(scales)

    @staticmethod
    def last(image: paddle.Tensor, batch: int) -> paddle.Tensor:
        """The last images: a callback that ends guidance early leaves one copy of the latents."""
        return image[-batch:] if image.shape[0] > batch else image


def networks_of(controlnet: ControlNetModel | MultiControlNetModel) -> list[ControlNetModel]:
    """The ControlNets as a list."""
    return list(controlnet.nets) if hasattr(controlnet, "nets") else [controlnet]


def needs_guess_mode(controlnet: ControlNetModel | MultiControlNetModel) -> bool:
    """Whether the residuals are averaged over height and width, which requires guess mode."""
    return bool(networks_of(controlnet)[0].config.global_pool_conditions)
