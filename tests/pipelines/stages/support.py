"""Small stand-ins for networks, schedulers and pipelines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import paddle


class RecordingUNet:
    """A UNet that records its inputs and returns latents [n * B, C, h, w] plus the mean of the embeddings."""

    def __init__(self, channels: int = 4):
        self.channels, self.calls = channels, []

    def __call__(self, sample: paddle.Tensor, timestep: Any, encoder_hidden_states: paddle.Tensor, **kwargs: Any):
        self.calls.append({"sample": sample, "timestep": timestep, **kwargs})
        means = encoder_hidden_states.mean(axis=[1, 2]).reshape([-1, 1, 1, 1])  # [n * B, 1, 1, 1]
        return (sample[:, : self.channels] + means,)


class HalvingScheduler:
    """A scheduler that halves the input of the network; a step adds the prediction."""

    order = 1

    def scale_model_input(self, sample: paddle.Tensor, timestep: Any) -> paddle.Tensor:
        return sample / 2

    def step(self, prediction: paddle.Tensor, timestep: Any, sample: paddle.Tensor, **kwargs: Any) -> tuple:
        return (sample + prediction,)


class FakePipeline:
    """What a `DenoisingLoop` needs of a pipeline; `updates` counts updates of the progress bar."""

    def __init__(self, order: int = 1):
        self.scheduler = HalvingScheduler()
        self.scheduler.order = order
        self.interrupt, self.total, self.updates = False, None, 0

    @contextmanager
    def progress_bar(self, total: int):
        self.total = total
        yield self

    def update(self) -> None:
        self.updates += 1
