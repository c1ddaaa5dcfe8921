"""The base class of schedulers and the output of a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar

import numpy as np
import paddle

from ppdiffusers import registry
from ppdiffusers.core.config_types import built_from_configuration
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.io.pretrained import HubConfigMixin, load_config_from
from ppdiffusers.io.resolve import pop_hub_options
from ppdiffusers.schedulers.common.arrays import Timesteps
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.utils.dummy_inputs import normal

SCHEDULER_CONFIG_NAME = "scheduler_config.json"

SchedulerT = TypeVar("SchedulerT", bound="SchedulerMixin")


@dataclass
class SchedulerOutput(BaseOutput):
    """Output of a step.

    Args:
        prev_sample: x_{t-1}, the input of the next step, [B, C, ...].
        pred_original_sample: the clean sample x_0 predicted at this step, [B, C, ...]; None if it is not computed.
    """

    prev_sample: paddle.Tensor
    pred_original_sample: paddle.Tensor | None = None


class SchedulerMixin(Timesteps, HubConfigMixin):
    """Base class of schedulers: configuration, loading and saving. Each scheduler defines its own `step`.

    Class attributes:
        order: number of network calls per inference step.
        accepts_eta: whether `step` takes `eta`, the amount of added noise.
        accepts_exchangeable: whether it is created from the configurations of the exchangeable schedulers (`registry`)
            without being one of them.
    """

    config_name = "scheduler_config.json"
    ignored_config_keys = ("tensor_format", "timestep_values")
    order: int = 1
    accepts_eta: ClassVar[bool] = False
    accepts_exchangeable: ClassVar[bool] = False
    num_inference_steps: int | None = None

    @classmethod
    def from_pretrained(
        cls: type[SchedulerT],
        pretrained_model_name_or_path: str | os.PathLike,
        subfolder: str | None = None,
        **kwargs: Any,
    ) -> SchedulerT:
        """Load a scheduler from the `scheduler_config.json` of a folder or of a hub repository.

        Args:
            pretrained_model_name_or_path: a folder or the name of a repository.
            subfolder: subfolder of the file; usually "scheduler" in a pipeline.
            kwargs: values that override those of the file, and options of the hub such as `source`, `revision` and
                `local_files_only`. With `return_unused_kwargs=True` the result is a tuple of the scheduler and the
                values that it does not use.
        """
        options = pop_hub_options(kwargs)
        config = load_config_from(pretrained_model_name_or_path, cls.config_name, subfolder, options)
        with built_from_configuration(cls.__name__, cls.config_name):
            return cls.from_config(config, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Save `scheduler_config.json` to a folder, in the format of diffusers."""
        self.save_config(save_directory)

    @classmethod
    def split_config(
        cls, config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Sort a configuration as `ConfigMixin` does, after renaming the legacy keys `timesteps`, `predict_epsilon`."""
        renamed = dict(config)
        timesteps = renamed.pop("timesteps", None)
        if timesteps is not None:
            renamed.setdefault("num_train_timesteps", timesteps)
        predict_epsilon = renamed.pop("predict_epsilon", None)
        if predict_epsilon is not None and "prediction_type" in cls.init_parameters():
            renamed.setdefault("prediction_type", "epsilon" if predict_epsilon else "sample")
        return super().split_config(renamed, overrides)

    @property
    def compatibles(self) -> list[type]:
        """Classes that can be created from this scheduler's configuration, including its own class."""
        if not self.accepts_exchangeable and not isinstance(self, tuple(_exchangeable_classes())):
            return [type(self)]
        return [type(self), *(cls for cls in _karras_diffusion_classes() if cls is not type(self))]

    @classmethod
    def compatible_config_keys(cls) -> set[str]:
        """Return the keys of all schedulers, so that `X.from_config(pipe.scheduler.config)` accepts any of them."""
        return {key for other in _all_classes() for key in other.init_parameters()}

    def scale_model_input(self, sample: paddle.Tensor, timestep: Timestep | None = None) -> paddle.Tensor:
        """Return the network input of a sample; here the sample itself."""
        return sample

    def _require_timesteps(self) -> None:
        """Check that `set_timesteps` was called.

        Raises:
            InputError: it was not.
        """
        if self.num_inference_steps is None:
            raise InputError(
                "`set_timesteps` must be called before `step`.",
                where=type(self).__name__,
                remedy="call scheduler.set_timesteps(num_inference_steps) before scheduler.step(...)",
            )

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Run a scheduler of either framework on random inputs; returns tensors by name.

        Args:
            scheduler: ours or diffusers'.
            rng: source of the inputs.
            tensor: turns an array into a tensor of the scheduler's framework.
            noise: keyword arguments that fix the scheduler's own random numbers, such as `generator`.
        """
        scheduler.set_timesteps(10)
        learned = str(scheduler.config.get("variance_type")).startswith("learned")  # the network predicts variance too
        sample, prediction = (tensor(normal(rng, 2, channels, 8, 8)) for channels in (4, 8 if learned else 4))
        # diffusers' flow matching schedulers have no scale_model_input: the network reads the sample itself
        scale = getattr(scheduler, "scale_model_input", lambda sample, timestep: sample)
        scaled = scale(sample, scheduler.timesteps[0])
        step = scheduler.step(prediction, scheduler.timesteps[0], sample, **noise)
        return {"timesteps": scheduler.timesteps, "scaled": scaled, "prev_sample": step.prev_sample}


def _exchangeable_classes() -> list[type[SchedulerMixin]]:
    return [entry.load() for entry in registry.entries("scheduler") if entry.exchangeable]


def _karras_diffusion_classes() -> list[type[SchedulerMixin]]:
    names = {name for name, _ in _karras_diffusion_schedulers()}
    return [entry.load() for entry in registry.entries("scheduler") if entry.name in names]


def _all_classes() -> list[type[SchedulerMixin]]:
    return [entry.load() for entry in registry.entries("scheduler")]


def step_result(
    return_dict: bool, prev_sample: paddle.Tensor, pred_original_sample: paddle.Tensor | None = None
) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
    """Return the result of a step as an output object or as a tuple."""
    if return_dict:
        return SchedulerOutput(prev_sample, pred_original_sample)
    return (prev_sample,) if pred_original_sample is None else (prev_sample, pred_original_sample)


def _karras_diffusion_schedulers() -> list[tuple[str, int]]:
    names = [*(entry.name for entry in registry.entries("scheduler") if entry.exchangeable), "EDMEulerScheduler"]
    return [(name, value) for value, name in enumerate(names, 1)]


_make_enum: Any = Enum  # mypy accepts literal members only
# The schedulers that Stable Diffusion accepts, with diffusers' values.
KarrasDiffusionSchedulers = _make_enum("KarrasDiffusionSchedulers", _karras_diffusion_schedulers(), module=__name__)
