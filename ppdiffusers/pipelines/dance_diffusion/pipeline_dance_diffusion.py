"""Unconditional audio (Harmonai's Dance Diffusion): a UNet over the waveform."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ppdiffusers.pipelines.pipeline_utils import AudioPipelineOutput, DiffusionPipeline
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.stages.unconditional import check_call
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_1d import UNet1DModel
    from ppdiffusers.schedulers.common.types import Scheduler


class DanceDiffusionPipeline(DiffusionPipeline):
    """Generate audio from noise.

    Args:
        unet: a `UNet1DModel` that predicts the velocity.
        scheduler: `IPNDMScheduler`, or another one with the same arguments of `step`.
    """

    unet: UNet1DModel
    scheduler: Scheduler

    def __init__(self, unet: UNet1DModel, scheduler: Scheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 100,
        generator: Generator = None,
        audio_length_in_s: float | None = None,
        return_dict: bool = True,
    ) -> AudioPipelineOutput | tuple:
        """Generate audio.

        Args:
            batch_size: number of audio samples.
            num_inference_steps: number of denoising steps.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each audio sample.
            audio_length_in_s: length in seconds; by default the network's `sample_size`. The network generates the
                next length that it can downsample, and the end is removed.
            return_dict: if False, return `(audios,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        length = self._length(audio_length_in_s)
        problems = self._length_problems(audio_length_in_s, length)
        check_call(self, problems, batch_size=batch_size, num_inference_steps=num_inference_steps, generator=generator)
        step = 2 ** len(self.unet.up_blocks)
        longer = math.ceil(length / step) * step
        shape = (batch_size, self.unet.config.in_channels, longer)
        audio = randn_tensor(shape, generator=as_generator(generator), dtype=dtype_of(self.unet))  # [B, C, L]

        self.scheduler.set_timesteps(num_inference_steps)
        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            velocity = self.unet(audio, t, return_dict=False)[0]
            audio = self.scheduler.step(velocity, t, audio).prev_sample
            finite.note(f"denoising at time {float(t):.4f}", audio)
        finite.warn()

        audios = audio.clip(-1, 1).astype("float32").numpy()[:, :, : int(length)]
        return AudioPipelineOutput(audios=audios) if return_dict else (audios,)

    def _length(self, seconds: Any) -> float:
        """Length in samples; by default the network's `sample_size`."""
        config = self.unet.config
        if seconds is None or checks.check_numbers(seconds=seconds) or config.sample_rate is None:
            return config.sample_size
        return seconds * config.sample_rate

    def _length_problems(self, seconds: Any, length: float) -> list[str]:
        rate, shortest = self.unet.config.sample_rate, 3 * 2 ** len(self.unet.up_blocks)
        if seconds is None:
            return []
        if rate is None:
            return ["`audio_length_in_s` requires a `sample_rate` in the configuration of the network"]
        problems = checks.check_numbers(audio_length_in_s=seconds)
        if not problems and length < shortest:
            problems.append(f"`audio_length_in_s` must be at least {shortest / rate:.4g} seconds, not {seconds!r}")
        return problems
