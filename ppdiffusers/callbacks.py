"""Ready-made callbacks for `callback_on_step_end`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.latents import decode_latents

if TYPE_CHECKING:
    import PIL.Image

    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline


class PipelineCallback(ConfigMixin, ABC):
    """Base of callbacks that act from a certain step on.

    Subclasses define `tensor_inputs`, the names of the tensors that they receive (of the pipeline's
    `_callback_tensor_inputs`), and `callback_fn`.

    Args:
        cutoff_step_ratio: the step as a fraction of all steps, 0.0 to 1.0.
        cutoff_step_index: the step as an index, instead of `cutoff_step_ratio` (which is then None).

    Raises:
        InputError: both or neither are given, or the ratio is outside [0.0, 1.0].
    """

    config_name = "config.json"
    tensor_inputs: Sequence[str] = ()

    @register_to_config
    def __init__(self, cutoff_step_ratio: float | None = 1.0, cutoff_step_index: int | None = None):
        if (cutoff_step_ratio is None) == (cutoff_step_index is None):
            raise InputError(
                "The cutoff step is not defined.",
                where=f"{cutoff_step_ratio=}, {cutoff_step_index=}",
                expected="one of the two, and None for the other",
            )
        if cutoff_step_ratio is not None and not (
            isinstance(cutoff_step_ratio, float) and 0.0 <= cutoff_step_ratio <= 1.0
        ):
            raise InputError(f"{cutoff_step_ratio=} is invalid.", expected="a float between 0.0 and 1.0")

    @abstractmethod
    def callback_fn(
        self, pipeline: DiffusionPipeline, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Change the pipeline or the tensors after a step; returns the tensors."""

    def __call__(
        self, pipeline: DiffusionPipeline, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        return self.callback_fn(pipeline, step_index, timestep, callback_kwargs)

    def is_cutoff_step(self, pipeline: DiffusionPipeline, step_index: int) -> bool:
        """Whether this is the step at which the callback acts."""
        index = self.config.cutoff_step_index
        return step_index == (int(pipeline.num_timesteps * self.config.cutoff_step_ratio) if index is None else index)


class MultiPipelineCallbacks:
    """Several callbacks, called in order."""

    def __init__(self, callbacks: Sequence[PipelineCallback]):
        self.callbacks = callbacks

    @property
    def tensor_inputs(self) -> list[str]:
        """Names of all tensors that the callbacks receive."""
        return [name for callback in self.callbacks for name in callback.tensor_inputs]

    def __call__(
        self, pipeline: DiffusionPipeline, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        for callback in self.callbacks:
            callback_kwargs = callback(pipeline, step_index, timestep, callback_kwargs)
        return callback_kwargs


class SDCFGCutoffCallback(PipelineCallback):
    """Stop classifier-free guidance of Stable Diffusion after the cutoff step."""

    tensor_inputs = ("prompt_embeds",)

    def callback_fn(
        self, pipeline: DiffusionPipeline, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        if self.is_cutoff_step(pipeline, step_index):
            pipeline._guidance_scale = 0.0
            for name in self.tensor_inputs:
                callback_kwargs[name] = callback_kwargs[name][-1:]  # the conditional half of a batch of one
        return callback_kwargs


class SDXLCFGCutoffCallback(SDCFGCutoffCallback):
    """Stop classifier-free guidance of Stable Diffusion XL after the cutoff step."""

    tensor_inputs = ("prompt_embeds", "add_text_embeds", "add_time_ids")


class SDXLControlnetCFGCutoffCallback(SDCFGCutoffCallback):
    """Stop classifier-free guidance of Stable Diffusion XL with ControlNet after the cutoff step."""

    tensor_inputs = ("prompt_embeds", "add_text_embeds", "add_time_ids", "image")


class SD3CFGCutoffCallback(SDCFGCutoffCallback):
    """Stop classifier-free guidance of Stable Diffusion 3 after the cutoff step."""

    tensor_inputs = ("prompt_embeds", "pooled_prompt_embeds")


class IPAdapterScaleCutoffCallback(PipelineCallback):
    """Set the scale of IP-Adapters to 0 after the cutoff step."""

    def callback_fn(
        self, pipeline: DiffusionPipeline, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        if self.is_cutoff_step(pipeline, step_index):
            pipeline.set_ip_adapter_scale(0.0)
        return callback_kwargs


class PreviewCallback(PipelineCallback):
    """Show the image as it develops: decode the latents after every `interval` steps, and after the last one.

    Decode with an `AutoencoderTiny`, which takes a fraction of a step; the VAE of a pipeline may take several steps.

    Args:
        vae: decodes the latents of the pipeline; need not be the one of the pipeline.
        on_preview: called with the index of the step, its timestep, and the PIL images of the batch.
        interval: number of steps between previews.

    Raises:
        InputError: the interval is not a positive integer.
    """

    tensor_inputs = ("latents",)

    def __init__(
        self,
        vae: AutoencoderKL | AutoencoderTiny,
        on_preview: Callable[[int, Any, list[PIL.Image.Image]], None],
        interval: int = 1,
    ):
        super().__init__()
        if not isinstance(interval, int) or interval < 1:
            raise InputError(f"{interval=} is invalid.", expected="a positive number of steps")
        self.vae, self.on_preview, self.interval = vae, on_preview, interval

    def callback_fn(
        self, pipeline: DiffusionPipeline, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        steps = step_index + 1
        if steps % self.interval == 0 or steps == pipeline.num_timesteps:
            # with the variance of the network's input, also where the scheduler's latents have that of sigma
            latents = pipeline.scheduler.scale_model_input(callback_kwargs["latents"], timestep)  # [B, C, h, w]
            images = pipeline.image_processor.postprocess(decode_latents(self.vae, latents), output_type="pil")
            self.on_preview(step_index, timestep, images)
        return callback_kwargs
