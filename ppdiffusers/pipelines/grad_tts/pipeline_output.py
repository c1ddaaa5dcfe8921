"""Output of the Grad-TTS pipeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class GradTTSPipelineOutput(BaseOutput):
    """Speech, as arrays or tensors.

    Args:
        mels: log mel spectrograms, [B, M, L]; frames after the end of a text are 0.
        lengths: number of frames of each text, [B].
        encoder_outputs: the means that the text encoder predicts, [B, M, L].
        alignments: the symbol of each frame, 1 or 0, [B, T, L].
        audios: waveforms in [-1, 1], [B, 1, L * hop_size]; samples after the end of a text are 0. None without a
            vocoder.
    """

    mels: np.ndarray | paddle.Tensor
    lengths: np.ndarray
    encoder_outputs: np.ndarray | paddle.Tensor
    alignments: np.ndarray | paddle.Tensor
    audios: np.ndarray | paddle.Tensor | None = None
