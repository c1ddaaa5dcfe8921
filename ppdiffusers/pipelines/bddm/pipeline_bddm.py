"""Mel spectrogram to waveform: BDDM (Lam et al. 2022, https://arxiv.org/abs/2203.13508)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.io.torch_pickle import read_torch_file
from ppdiffusers.pipelines.pipeline_utils import AudioPipelineOutput, DiffusionPipeline
from ppdiffusers.pipelines.stages import checks, mels
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.vocoders.diffwave import DiffWaveModel
    from ppdiffusers.models.vocoders.galr import BDDMScheduleModel
    from ppdiffusers.schedulers.scheduling_bddm import BDDMScheduler


class BDDMPipeline(DiffusionPipeline):
    """Generate a waveform from its mel spectrogram, with a noise schedule of a few steps that a network finds.

    Args:
        score_net: a `DiffWaveModel` that predicts the noise in the waveform.
        scheduler: a `BDDMScheduler`.
        schedule_net: a `BDDMScheduleModel`; only `search_noise_schedule` needs it.
    """

    score_net: DiffWaveModel
    schedule_net: BDDMScheduleModel | None
    scheduler: BDDMScheduler
    _optional_components = ("schedule_net",)

    def __init__(
        self, score_net: DiffWaveModel, scheduler: BDDMScheduler, schedule_net: BDDMScheduleModel | None = None
    ):
        super().__init__()
        self.register_modules(score_net=score_net, scheduler=scheduler, schedule_net=schedule_net)

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
            num_inference_steps: number of evenly spaced training timesteps; by default all of them.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each waveform.
            betas: a noise schedule, from `search_noise_schedule` or `load_noise_schedule`.
            ddim: use the deterministic sampler.
            latents: the initial noise, [B, 1, L * hop_size], in place of drawing it.
            output_type: "np" for an array, "pd" for a tensor.
            return_dict: if False, return `(audios,)`.

        Returns:
            `audios` [B, 1, L * hop_size].

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        mel, shape = mels.checked(
            self,
            mel,
            self.score_net.config.cond_channels,
            self.score_net.hop_size,
            dtype_of(self.score_net),
            latents=latents,
            generator=generator,
            output_type=output_type,
        )
        if num_inference_steps is None and betas is None:
            num_inference_steps = self.scheduler.config.num_train_timesteps
        self.scheduler.set_timesteps(num_inference_steps, betas=betas)
        generator = as_generator(generator)
        audio = mels.initial_noise(latents, shape, generator, mel.dtype)  # [B, 1, L * hop_size]
        audio = mels.denoise(
            self.scheduler, self.score_net, audio, mel, self.progress_bar, generator=generator, ddim=ddim
        )
        audios = audio if output_type == "pd" else audio.astype("float32").numpy()
        return AudioPipelineOutput(audios=audios) if return_dict else (audios,)

    @inference
    def search_noise_schedule(
        self,
        mel: paddle.Tensor | np.ndarray | Sequence[Any],
        alpha_param: float,
        beta_param: float,
        max_steps: int = 12,
        ddim: bool = False,
        generator: Generator = None,
    ) -> np.ndarray:
        """Find a noise schedule with the schedule network (algorithm 3), from the last step to the first.

        Args:
            mel: the spectrogram of a short reference, [1, M, L] or [M, L].
            alpha_param, beta_param: noise level alpha and beta of the last step, between 0 and 1. The authors try a
                grid of both and keep the schedules whose waveforms sound best.
            max_steps: N, the largest number of steps.
            ddim: denoise with the deterministic sampler.
            generator: of the noise.

        Returns:
            Betas, float32 [n] with n up to `max_steps`, for the argument `betas` of a call.

        Raises:
            InputError: invalid arguments, or the pipeline has no schedule network.
        """
        problems = checks.check_counts(max_steps=max_steps) + _check_params(alpha_param, beta_param)
        if self.schedule_net is None:
            problems.append("the pipeline has no `schedule_net`: convert a checkpoint that contains one")
        mel, shape = mels.checked(
            self,
            mel,
            self.score_net.config.cond_channels,
            self.score_net.hop_size,
            dtype_of(self.score_net),
            generator=generator,
            problems=problems,
        )
        generator = as_generator(generator)
        x = randn_tensor(shape, generator=generator, dtype=mel.dtype)  # [1, 1, L * hop_size]
        alpha, beta, betas = np.float32(alpha_param), np.float32(beta_param), []
        smallest = self.scheduler.host_betas.min()
        for n in self.progress_bar(range(max_steps - 1, -1, -1)):
            betas.append(beta)
            eps = self.score_net(x, self.scheduler.timestep_of(float(alpha)), mel, return_dict=False)[0]
            alpha_next = alpha / np.sqrt(1 - beta)
            x = _denoised(x, eps, float(alpha), float(beta), float(alpha_next), ddim)
            if n > 0 and not ddim:
                std = np.sqrt(max((1 - alpha_next**2) / (1 - alpha**2) * beta, 0))
                x = x + randn_tensor(shape, generator=generator, dtype=mel.dtype) * float(std)
            if alpha_next > 1:
                break
            bounds = (paddle.to_tensor([float(value)], dtype=mel.dtype) for value in (beta, 1 - alpha_next**2))
            beta = np.float32(self.schedule_net(x.squeeze(1), *bounds).item())  # decides whether the search ends
            if beta < smallest:
                break
            alpha = alpha_next
        return np.asarray(betas[::-1], dtype=np.float32)


def load_noise_schedule(path: str | os.PathLike) -> np.ndarray:
    """Read the betas from a schedule file (`.ns`) of the original repository: [timesteps, alphas, betas, sigmas].

    Raises:
        WeightsError: the file is not a schedule.
    """
    arrays = read_torch_file(path, nested=True)
    betas = arrays.get("2")
    if len(arrays) != 4 or betas is None or len(betas.shape) != 1:
        raise WeightsError(
            "The file is not a noise schedule.",
            where=path,
            problems=[f"{name}: {list(tensor.shape)}" for name, tensor in arrays.items()],
            expected="a list of four tensors [n]",
        )
    return betas.read().astype(np.float32)


def _check_params(alpha_param: Any, beta_param: Any) -> list[str]:
    problems = checks.check_numbers(alpha_param=alpha_param, beta_param=beta_param)
    if problems:
        return problems
    problems = [
        f"`{name}` must be between 0 and 1, not {value!r}"
        for name, value in {"alpha_param": alpha_param, "beta_param": beta_param}.items()
        if not 0 < value < 1
    ]
    if not problems and alpha_param > (1 - beta_param) ** 0.5:
        problems.append(f"`alpha_param` must be at most sqrt(1 - beta_param) = {(1 - beta_param) ** 0.5:.4f}")
    return problems


def _denoised(
    x: paddle.Tensor, eps: paddle.Tensor, alpha: float, beta: float, alpha_next: float, ddim: bool
) -> paddle.Tensor:
    """Return the mean of the next sample, [1, 1, N]."""
    sigma = (1 - alpha**2) ** 0.5
    if ddim:
        return x * (alpha_next / alpha) + eps * (max(1 - alpha_next**2, 0) ** 0.5 - sigma * alpha_next / alpha)
    return (x - eps * (beta / sigma)) * (1 / (1 - beta) ** 0.5)
