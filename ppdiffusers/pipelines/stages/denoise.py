"""The denoising loop: calls of the network, progress bar, callbacks, interruption."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.turns import pipeline_turn
from ppdiffusers.schedulers.common.arrays import to_array

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
    from ppdiffusers.schedulers.common.types import Scheduler

Call = TypeVar("Call", bound=Callable[..., Any])
StepEndCallback = Callable[[Any, int, Any, dict[str, Any]], "dict[str, Any] | None"]
Callback = Callable[[int, Any, paddle.Tensor], None]


def inference(call: Call) -> Call:
    """Decorate the `__call__` of a pipeline: no gradients, compiled networks where that pays, the pipeline's device
    as the default device of new tensors, and turns with calls of other threads (`stages.turns`)."""

    @functools.wraps(call)
    def wrapper(self: DiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
        with pipeline_turn(self), paddle.no_grad():
            self._compile_when_it_pays()
            return call(self, *args, **kwargs)

    return cast(Call, wrapper)


class UNetDenoiser:
    """Predict with a `UNet2DConditionModel`: `(latents, t, prompt_embeds) -> prediction`.

    The latents are repeated once for each condition: `prompt_embeds` of shape [n * B, L, D] give n predictions for
    each of the B latents, which `guidance` combines.

    Args:
        scheduler: scales the input of the network.
        timestep_cond: [B, D], embedded guidance scales for distilled UNets.
        extra_channels: tensors [n * B, any, h, w] that are concatenated to the latents, such as a mask.
        kwargs: other arguments of the UNet, such as `cross_attention_kwargs`, `class_labels`, `added_cond_kwargs`.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        *,
        timestep_cond: paddle.Tensor | None = None,
        extra_channels: Sequence[paddle.Tensor] = (),
        **kwargs: Any,
    ):
        self.unet, self.scheduler = unet, scheduler
        self.timestep_cond, self.extra_channels, self.kwargs = timestep_cond, extra_channels, kwargs

    def __call__(self, latents: paddle.Tensor, t: Any, prompt_embeds: paddle.Tensor, **kwargs: Any) -> paddle.Tensor:
        """Predictions [n * B, C, h, w] for latents [B, C, h, w]; `kwargs` are more arguments of the UNet."""
        copies = prompt_embeds.shape[0] // latents.shape[0]
        model_input = paddle.concat([latents] * copies) if copies > 1 else latents
        model_input = self.scheduler.scale_model_input(model_input, t)
        if self.extra_channels:
            model_input = paddle.concat([model_input, *self.extra_channels], axis=1)
        return self.unet(
            model_input,
            t,
            encoder_hidden_states=prompt_embeds,
            timestep_cond=self.timestep_cond,
            return_dict=False,
            **self.kwargs,
            **kwargs,
        )[0]


class DenoisingLoop:
    """One pass through the timesteps.

    `steps()` yields (index, timestep) and stops when the pipeline's `interrupt` is set. `end_step` runs the callbacks
    and returns the tensors, with those that a callback replaced. The timesteps are numbers on the host, so that no step
    waits for a device; callbacks receive them as tensors without axes.

    Args:
        pipeline: provides `progress_bar`, `interrupt` and `scheduler.order`.
        num_inference_steps: length of the progress bar; some schedulers take several timesteps for one step.
        callback_on_step_end: called as `f(pipeline, index, timestep, tensors)`; returns a dict of tensors to replace.
        tensor_inputs: names of the tensors that are passed to it.
        callback, callback_steps: the legacy form, called as `f(index, timestep, latents)` every `callback_steps` steps.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        timesteps: paddle.Tensor | np.ndarray,
        num_inference_steps: int,
        *,
        callback_on_step_end: StepEndCallback | None = None,
        tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
    ):
        self.pipeline = pipeline
        self.timesteps = to_array(timesteps)
        self.num_inference_steps = num_inference_steps
        self.callback_on_step_end = callback_on_step_end
        self.tensor_inputs = tensor_inputs
        self.callback = callback
        self.callback_steps = callback_steps or 1
        self.finite = FiniteCheck()

    def steps(self) -> Iterator[tuple[int, Any]]:
        order = self.pipeline.scheduler.order
        # the first timesteps of some multistep schedulers only collect history
        warmup = len(self.timesteps) - self.num_inference_steps * order
        with self.pipeline.progress_bar(total=self.num_inference_steps) as bar:
            for index, timestep in enumerate(self.timesteps):
                if self.pipeline.interrupt:
                    return
                yield index, timestep
                last = index == len(self.timesteps) - 1
                if last or (index + 1 > warmup and (index + 1) % order == 0):
                    bar.update()
                    self._legacy_callback(index, timestep)

    def end_step(self, index: int, timestep: Any, **tensors: Any) -> tuple:
        """Call `callback_on_step_end`; return the values of `tensors`, in their order."""
        if self.callback_on_step_end is not None:
            given = {name: tensors[name] for name in self.tensor_inputs}
            changed = self.callback_on_step_end(self.pipeline, index, paddle.to_tensor(timestep), given) or {}
            unknown = [name for name in changed if name not in tensors]
            if unknown:
                raise InputError(
                    f"`callback_on_step_end` returned {', '.join(map(repr, unknown))}, which this loop does not have.",
                    expected=f"a dictionary with some of {', '.join(tensors)}",
                )
            tensors.update(changed)
        self._latents = tensors["latents"]
        self.finite.note(f"denoising step {index} (timestep {timestep})", self._latents)
        return tuple(tensors.values())

    def _legacy_callback(self, index: int, timestep: Any) -> None:
        if self.callback is not None and index % self.callback_steps == 0:
            step = index // self.pipeline.scheduler.order
            self.callback(step, paddle.to_tensor(timestep), self._latents)
