"""Mel spectrogram to waveform: FastDiff (Huang et al. 2022, https://arxiv.org/abs/2204.09934)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers.pipelines.pipeline_utils import AudioPipelineOutput, DiffusionPipeline
from ppdiffusers.pipelines.stages import checks, mels
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    import paddle

    from ppdiffusers.models.vocoders.fastdiff import FastDiffModel
    from ppdiffusers.schedulers.scheduling_bddm import BDDMScheduler


class FastDiffPipeline(DiffusionPipeline):
    """Generate a waveform from its mel spectrogram.

    Args:
        vocoder: a `FastDiffModel` that predicts the noise in the waveform.
        scheduler: a `BDDMScheduler`.
    """

    vocoder: FastDiffModel
    scheduler: BDDMScheduler

    def __init__(self, vocoder: FastDiffModel, scheduler: BDDMScheduler):
        super().__init__()
        self.register_modules(vocoder=vocoder, scheduler=scheduler)

    @inference
    def __call__(
        self,
        mel: paddle.Tensor | np.ndarray | Sequence[Any],
        num_inference_steps: int | None = None,
        generator: Generator = None,
        betas: Sequence[float] | np.ndarray | None = None,
        ddim: bool = False,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> AudioPipelineOutput | tuple:
        """Generate waveforms of `hop_size` samples for each frame.

        Args:
            mel: log mel spectrograms, [B, M, L] or [M, L], as the network was trained with.
            num_inference_steps: 3, 4 (the default), 6, 8, 200 or all training timesteps, see `BDDMScheduler`.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each waveform.
            betas: another noise schedule.
            ddim: use the deterministic sampler.
            latents: the initial noise, [B, 1, L * hop_size], in place of drawing it.
            output_type: "np" for an array, "pd" for a tensor.
            return_dict: if False, return `(audios,)`.

        Returns:
            `audios` [B, 1, L * hop_size]; divide by the largest absolute value before writing a file, as the authors.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        bins, hop = self.vocoder.config.cond_channels, self.vocoder.hop_size
        mel, problems = mels.prepare(mel, bins, dtype_of(self.vocoder))
        batch, frames = (None, None) if problems else (mel.shape[0], mel.shape[-1])
        shape = (batch, 1, frames and frames * hop)
        checks.raise_problems(
            self,
            problems,
            checks.check_generator(generator, batch),
            checks.check_latents(latents, shape),
            mels.check_output_type(output_type),
        )
        steps = 4 if num_inference_steps is None and betas is None else num_inference_steps
        self.scheduler.set_timesteps(steps, betas=betas)
        generator = as_generator(generator)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, dtype=mel.dtype)
        audio = mels.as_tensor(latents, mel.dtype)  # [B, 1, L * hop_size]

        finite = FiniteCheck()
        for t in self.progress_bar(host_timesteps(self.scheduler)):
            noise = self.vocoder(audio, t, mel, return_dict=False)[0]
            audio = self.scheduler.step(noise, t, audio, generator=generator, ddim=ddim).prev_sample
            finite.note(f"denoising at time {float(t):.4f}", audio)
        finite.warn()

        audios = audio if output_type == "pd" else audio.astype("float32").numpy()
        return AudioPipelineOutput(audios=audios) if return_dict else (audios,)
