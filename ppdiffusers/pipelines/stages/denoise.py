"""The denoising loop: calls of the network, progress bar, callbacks, interruption."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.exported import as_network_timestep, first_output
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
# The tensors of a call by name: those that callbacks may replace.
Tensors = dict[str, Any]
# (index, timestep, tensors) -> arguments of `UNetDenoiser` and the UNet, such as the residuals of a ControlNet.
Condition = Callable[[int, Any, Tensors], dict[str, Any]]


def inference(call: Call) -> Call:
    """Decorate the `__call__` of a pipeline: no gradients, compiled networks where that pays, the pipeline's device
    as the default device of new tensors, and turns with calls of other threads (`stages.turns`)."""

    @functools.wraps(call)
    def wrapper(self: DiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
        with pipeline_turn(self), paddle.no_grad():
            self._compile_when_it_pays()
            try:
                return call(self, *args, **kwargs)
            finally:
                self.maybe_free_model_hooks()

    return cast(Call, wrapper)


class UNetDenoiser:
    """Predict with a `UNet2DConditionModel`: `(latents, t, prompt_embeds) -> prediction`.

    The latents are repeated once for each condition: `prompt_embeds` of shape [n * B, L, D] give n predictions for
    each of the B latents, which `guidance` combines.

    Args:
        scheduler: scales the input of the network.
        timestep_cond: [B, D], embedded guidance scales for distilled UNets.
        extra_channels: tensors [n * B, any, h, w] that are concatenated to the latents, such as a mask.
        added_cond_kwargs: for all steps, such as the image embeddings of IP-Adapters.
        kwargs: other arguments of the UNet, such as `cross_attention_kwargs`, `class_labels`.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        *,
        timestep_cond: paddle.Tensor | None = None,
        extra_channels: Sequence[paddle.Tensor] = (),
        added_cond_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.unet, self.scheduler = unet, scheduler
        self.timestep_cond, self.extra_channels = timestep_cond, extra_channels
        self.added_cond_kwargs = added_cond_kwargs or {}
        # networks of users need not know what a call does not use
        self.kwargs = {name: value for name, value in kwargs.items() if value is not None}

    def __call__(
        self,
        latents: paddle.Tensor,
        t: Any,
        prompt_embeds: paddle.Tensor,
        extra_channels: Sequence[paddle.Tensor] = (),
        added_cond_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> paddle.Tensor:
        """Predictions [n * B, C, h, w] for latents [B, C, h, w].

        Args:
            extra_channels: concatenated in addition to those of the constructor, in a step in which they may change.
            added_cond_kwargs: added to those of the constructor.
            kwargs: more arguments of the UNet.
        """
        copies = prompt_embeds.shape[0] // latents.shape[0]
        model_input = paddle.concat([latents] * copies) if copies > 1 else latents
        model_input = self.scheduler.scale_model_input(model_input, t)
        extra_channels = (*self.extra_channels, *extra_channels)
        if extra_channels:
            model_input = paddle.concat([model_input, *extra_channels], axis=1)
        added = {**self.added_cond_kwargs, **(added_cond_kwargs or {})}
        if "image_embeds" in added:  # a callback that ends guidance early leaves the last condition
            added["image_embeds"] = [embeds[-prompt_embeds.shape[0] :] for embeds in added["image_embeds"]]
        if added:
            kwargs["added_cond_kwargs"] = added
        output = self.unet(
            model_input,
            as_network_timestep(self.unet, t),
            encoder_hidden_states=prompt_embeds,
            timestep_cond=self.timestep_cond,
            return_dict=False,
            **self.kwargs,
            **kwargs,
        )
        return first_output(output)


class GuidedPrediction:
    """Predict once for each image of a call: `(index, t, tensors) -> prediction [B, C, h, w]`.

    The tensors are "latents", "prompt_embeds" and, for UNets with added embeddings, "add_text_embeds" and
    "add_time_ids".

    Args:
        denoiser: predicts for all conditions of the prompt embeddings.
        guide: combines its predictions [n * B, C, h, w] to [B, C, h, w].
        conditions: what the family adds, such as ControlNets; each returns arguments of the UNet for a step.
    """

    _ADDED = {"text_embeds": "add_text_embeds", "time_ids": "add_time_ids"}

    def __init__(self, denoiser: UNetDenoiser, guide: Callable[[paddle.Tensor], paddle.Tensor], *conditions: Condition):
        self.denoiser, self.guide, self.conditions = denoiser, guide, conditions

    def __call__(self, index: int, t: Any, tensors: Tensors) -> paddle.Tensor:
        kwargs: dict[str, Any] = {}
        added = self.added(tensors)
        if added:
            kwargs["added_cond_kwargs"] = added
        for condition in self.conditions:
            kwargs.update(condition(index, t, tensors))
        return self.guide(self.denoiser(tensors["latents"], t, tensors["prompt_embeds"], **kwargs))

    @classmethod
    def added(cls, tensors: Tensors) -> dict[str, paddle.Tensor]:
        """The added embeddings as the UNet names them; empty for UNets without them."""
        return {key: tensors[name] for key, name in cls._ADDED.items() if name in tensors}


@dataclass(frozen=True)
class StepCallbacks:
    """The callbacks of a call, as diffusers' arguments; see `DenoisingLoop`."""

    callback_on_step_end: StepEndCallback | None
    callback_on_step_end_tensor_inputs: Sequence[str]
    callback: Callback | None = None
    callback_steps: int | None = None

    @property
    def tensor_inputs(self) -> Sequence[str]:
        """Names of the tensors that are passed to `callback_on_step_end`; a `PipelineCallback` has its own."""
        return getattr(self.callback_on_step_end, "tensor_inputs", self.callback_on_step_end_tensor_inputs)

    def check(self) -> list[str]:
        """The callbacks are callable."""
        return checks.check_callbacks(callback_on_step_end=self.callback_on_step_end, callback=self.callback)

    def loop(
        self,
        pipeline: DiffusionPipeline,
        timesteps: paddle.Tensor,
        num_inference_steps: int,
        scheduler: Scheduler | None = None,
    ) -> DenoisingLoop:
        """The loop over these timesteps, which runs the callbacks."""
        return DenoisingLoop(
            pipeline,
            timesteps,
            num_inference_steps,
            callback_on_step_end=self.callback_on_step_end,
            tensor_inputs=self.tensor_inputs,
            callback=self.callback,
            callback_steps=self.callback_steps,
            scheduler=scheduler,
        )


class DenoisingLoop:
    """One pass through the timesteps.

    `steps()` yields (index, timestep) and stops when the pipeline's `interrupt` is set. `end_step` runs the callbacks
    and returns the tensors, with those that a callback replaced. `run` is both, for calls with one prediction a step.

    Args:
        pipeline: provides `progress_bar` and `interrupt`.
        num_inference_steps: length of the progress bar; some schedulers take several timesteps for one step.
        callback_on_step_end: called as `f(pipeline, index, timestep, tensors)`; returns a dict of tensors to replace.
        tensor_inputs: names of the tensors that are passed to it.
        callback, callback_steps: the legacy form, called as `f(index, timestep, latents)` every `callback_steps` steps.
        scheduler: of this loop; by default that of the pipeline.
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
        scheduler: Scheduler | None = None,
    ):
        self.pipeline = pipeline
        self.scheduler = pipeline.scheduler if scheduler is None else scheduler
        self.timesteps = to_array(timesteps)
        self.num_inference_steps = num_inference_steps
        self.callback_on_step_end = callback_on_step_end
        self.tensor_inputs = tensor_inputs
        self.callback = callback
        self.callback_steps = callback_steps or 1
        self.finite = FiniteCheck()

    def run(
        self,
        predict: Callable[[int, Any, Tensors], paddle.Tensor],
        tensors: Tensors,
        step_kwargs: dict[str, Any],
        after_step: Callable[[int, Tensors], paddle.Tensor] | None = None,
    ) -> Tensors:
        """Predict and step for each timestep; return the tensors after the last step.

        Args:
            predict: such as `GuidedPrediction`; it gets the tensors as callbacks left them.
            tensors: "latents", and the others that callbacks may replace.
            step_kwargs: keyword arguments of the scheduler's step.
            after_step: returns the latents after a step, changed, such as blended with a known image.
        """
        for index, t in self.steps():
            prediction = predict(index, t, tensors)  # [B, C, h, w]
            latents = self.scheduler.step(prediction, t, tensors["latents"], **step_kwargs, return_dict=False)[0]
            tensors = {**tensors, "latents": latents}
            if after_step is not None:
                tensors["latents"] = after_step(index, tensors)
            tensors = dict(zip(tensors, self.end_step(index, t, **tensors), strict=True))
        return tensors

    def steps(self) -> Iterator[tuple[int, Any]]:
        order = self.scheduler.order
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
            step = index // self.scheduler.order
            self.callback(step, paddle.to_tensor(timestep), self._latents)
