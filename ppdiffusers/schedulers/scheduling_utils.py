"""What all schedulers are: configurable, loadable, exchangeable for one another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import paddle

from ppdiffusers import registry
from ppdiffusers.core.config import ConfigMixin
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.io.pretrained import load_config_from
from ppdiffusers.io.resolve import take_source_options


@dataclass
class SchedulerOutput(BaseOutput):
    """Result of a step.

    Args:
        prev_sample: [B, C, ...], x_{t-1}: the sample to hand to the next step.
        pred_original_sample: [B, C, ...], the clean sample x_0 as it is predicted now, from samplers that compute it.
    """

    prev_sample: paddle.Tensor
    pred_original_sample: paddle.Tensor | None = None


class SchedulerMixin(ConfigMixin):
    """Base of all schedulers: configuration, files, exchange. Each scheduler has its own `step`.

    Class attributes:
        order: how many network calls one inference step takes.
        accepts_eta: whether `step` takes `eta`, the share of fresh noise.
        exchangeable: whether it can be created from the configurations of the exchangeable schedulers (`registry`).
    """

    config_name = "scheduler_config.json"
    ignored_config_keys = ("tensor_format", "timestep_values")
    order: int = 1
    accepts_eta: ClassVar[bool] = False
    exchangeable: ClassVar[bool] = False
    num_inference_steps: int | None = None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any
    ) -> Any:
        """Make a scheduler from the `scheduler_config.json` of a folder or of a model on a hub.

        Args:
            pretrained_model_name_or_path: a folder or a model's name; of a whole pipeline together with `subfolder`.
            subfolder: usually "scheduler".
            kwargs: values that replace those of the file; `return_unused_kwargs=True` returns the rest of them too.
                `source`, `revision`, `local_files_only`, ... say where to look for a name.
        """
        options = take_source_options(kwargs)
        config = load_config_from(pretrained_model_name_or_path, cls.config_name, subfolder, options)
        return cls.from_config(config, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write `scheduler_config.json` into a folder; diffusers reads it too."""
        self.save_config(save_directory)

    @classmethod
    def split_config(cls, config: Any, overrides: Any = None) -> tuple[dict, dict, dict]:
        """Understands the oldest files too, which say `timesteps`, and `predict_epsilon` for the prediction type."""
        config = dict(config)
        timesteps = config.pop("timesteps", None)
        if timesteps is not None:
            config.setdefault("num_train_timesteps", timesteps)
        predict_epsilon = config.pop("predict_epsilon", None)
        if predict_epsilon is not None and "prediction_type" in cls.init_parameters():
            config.setdefault("prediction_type", "epsilon" if predict_epsilon else "sample")
        return super().split_config(config, overrides)

    @property
    def compatibles(self) -> list[type]:
        """Classes that can be made from this scheduler's configuration."""
        return [type(self), *(c for c in _exchangeable_classes() if c is not type(self))] if self.exchangeable else []

    @classmethod
    def compatible_config_keys(cls) -> set[str]:
        """Keys of every scheduler: `X.from_config(pipe.scheduler.config)` works whatever that scheduler is."""
        return {key for other in _all_classes() for key in other.init_parameters()}

    def scale_model_input(self, sample: paddle.Tensor, timestep: Any = None) -> paddle.Tensor:
        """The network's input for a sample; here the sample itself."""
        return sample

    def _require_timesteps(self) -> None:
        """Raises:
        InputError: `set_timesteps` has not been called.
        """
        if self.num_inference_steps is None:
            raise InputError(
                "The scheduler does not know its steps yet.",
                where=type(self).__name__,
                remedy="call scheduler.set_timesteps(num_inference_steps) before scheduler.step(...)",
            )

    def __len__(self) -> int:
        return self.config.num_train_timesteps


def _exchangeable_classes() -> list[type[SchedulerMixin]]:
    return [entry.load() for entry in registry.entries("scheduler") if entry.exchangeable]


def _all_classes() -> list[type[SchedulerMixin]]:
    return [entry.load() for entry in registry.entries("scheduler")]


def step_result(
    return_dict: bool, prev_sample: paddle.Tensor, pred_original_sample: paddle.Tensor | None = None
) -> SchedulerOutput | tuple:
    """The result of a step as an output object or as a tuple."""
    if return_dict:
        return SchedulerOutput(prev_sample, pred_original_sample)
    return (prev_sample,) if pred_original_sample is None else (prev_sample, pred_original_sample)


# The schedulers that Stable Diffusion accepts, with diffusers' values.
KarrasDiffusionSchedulers = Enum(
    "KarrasDiffusionSchedulers",
    [*(entry.name for entry in registry.entries("scheduler") if entry.exchangeable), "EDMEulerScheduler"],
    module=__name__,
)
