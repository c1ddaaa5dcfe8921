"""What pipelines with mel spectrograms share: the checks of a call and of a vocoder, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.schedulers.scheduling_bddm import BDDMScheduler


def checked(
    pipeline: object,
    mel: Any,
    bins: int,
    hop_size: int,
    dtype: paddle.dtype,
    *,
    generator: Any,
    latents: Any = None,
    output_type: Any = "np",
    problems: Iterable[str] = (),
) -> tuple[paddle.Tensor, tuple[int, int, int]]:
    """Return the spectrogram [B, bins, L] and the shape of its waveform, [B, 1, L * hop_size].

    Args:
        mel: a tensor or an array [B, bins, L] or [bins, L].
        problems: those of other arguments.

    Raises:
        InputError: invalid arguments; all of them are listed.
    """
    mel, mel_problems = _prepare(mel, bins, dtype)
    batch, length = (None, None) if mel is None else (mel.shape[0], mel.shape[-1] * hop_size)
    checks.raise_problems(
        pipeline,
        mel_problems,
        checks.check_generator(generator, batch),
        checks.check_latents(latents, (batch, 1, length)),
        [] if output_type in ("np", "pd") else [f"`output_type` must be 'np' or 'pd', not {output_type!r}"],
        problems,
    )
    return mel, (mel.shape[0], 1, mel.shape[-1] * hop_size)


def check_vocoder(vocoder: Any, *, bins: int, hop_size: int, sample_rate: int) -> list[str]:
    """The vocoder accepts spectrograms with these settings."""
    settings = {
        "mel bins": (bins, vocoder.config.cond_channels),
        "samples for each frame (hop)": (hop_size, vocoder.hop_size),
        "Hz (sampling rate)": (sample_rate, vocoder.config.sample_rate),
    }
    return [
        f"the spectrograms have {ours} {what}, the `vocoder` expects {theirs}: load one for the same spectrograms"
        for what, (ours, theirs) in settings.items()
        if ours != theirs
    ]


def initial_noise(latents: Any, shape: Sequence[int], generator: Generator, dtype: paddle.dtype) -> paddle.Tensor:
    """Return the given noise as a tensor, or draw it: [B, 1, N]."""
    return randn_tensor(shape, generator=generator, dtype=dtype) if latents is None else _as_tensor(latents, dtype)


def denoise(
    scheduler: BDDMScheduler,
    network: Callable[..., tuple[paddle.Tensor, ...]],
    audio: paddle.Tensor,
    mel: paddle.Tensor,
    progress_bar: Callable[[Iterable], Iterable],
    *,
    generator: Generator,
    ddim: bool,
) -> paddle.Tensor:
    """Denoise a waveform [B, 1, N] with the noise schedule of the scheduler; `network` predicts the noise."""
    finite = FiniteCheck()
    for t in progress_bar(host_timesteps(scheduler)):
        noise = network(audio, t, mel, return_dict=False)[0]  # [B, 1, N]
        audio = scheduler.step(noise, t, audio, generator=generator, ddim=ddim).prev_sample
        finite.note(f"denoising at time {float(t):.4f}", audio)
    finite.warn()
    return audio


def _prepare(mel: Any, bins: int, dtype: paddle.dtype) -> tuple[Any, list[str]]:
    """Return a spectrogram [B, bins, L] from one with or without a batch axis, and the problems that prevent it."""
    expected = f"`mel` must be a tensor or an array [B, {bins}, L] or [{bins}, L]"
    try:
        values = mel if isinstance(mel, paddle.Tensor) else np.asarray(mel, dtype=np.float32)
    except (TypeError, ValueError):
        return None, [f"{expected}, not {type(mel).__name__}"]
    shape = list(values.shape)
    if len(shape) not in (2, 3) or shape[-2] != bins or min(shape) == 0:
        return None, [f"{expected}, not {shape}; the network has {bins} mel bins"]
    if not checks.all_finite(values):
        return None, ["`mel` has values that are not finite"]
    tensor = _as_tensor(values, dtype)
    return (tensor.unsqueeze(0) if tensor.ndim == 2 else tensor), []


def _as_tensor(values: paddle.Tensor | np.ndarray, dtype: paddle.dtype) -> paddle.Tensor:
    return (values if isinstance(values, paddle.Tensor) else paddle.to_tensor(values)).astype(dtype)
