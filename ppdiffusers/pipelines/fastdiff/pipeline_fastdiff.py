"""Mel spectrogram to waveform: FastDiff (Huang et al. 2022, https://arxiv.org/abs/2204.09934)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers.pipelines.pipeline_utils import AudioPipelineOutput, DiffusionPipeline
from ppdiffusers.pipelines.stages import mels
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import Generator, as_generator

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
        mel, shape = mels.checked(
            self,
            mel,
            self.vocoder.config.cond_channels,
            self.vocoder.hop_size,
            dtype_of(self.vocoder),
            latents=latents,
            generator=generator,
            output_type=output_type,
        )
        steps = 4 if num_inference_steps is None and betas is None else num_inference_steps
        self.scheduler.set_timesteps(steps, betas=betas)
        generator = as_generator(generator)
        audio = mels.initial_noise(latents, shape, generator, mel.dtype)  # [B, 1, L * hop_size]
        audio = mels.denoise(
            self.scheduler, self.vocoder, audio, mel, self.progress_bar, generator=generator, ddim=ddim
        )
        audios = audio if output_type == "pd" else audio.astype("float32").numpy()
        return AudioPipelineOutput(audios=audios) if return_dict else (audios,)
