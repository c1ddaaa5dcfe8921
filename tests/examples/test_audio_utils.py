"""Audio output of the example scripts: WAV files and spectrograms."""

import wave

import numpy as np
import pytest

from examples.inference import audio_utils

RATE = 8000


def tone(hertz: float, samples: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 511, 4001])
def test_wav_contains_every_sample(tmp_path, channels, samples):
    audio = np.random.default_rng(0).uniform(-1.2, 1.2, (channels, samples)).astype(np.float32)
    with wave.open(str(audio_utils.write_wav(tmp_path / "a.wav", audio, RATE))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (channels, 2, RATE)
        assert file.getnframes() == samples
        read = np.frombuffer(file.readframes(samples), "<i2").reshape(samples, channels).T
    np.testing.assert_allclose(read / 32767, audio.clip(-1, 1), atol=0.5001 / 32767)


@pytest.mark.parametrize("samples", [100, 512, 513, 4001])
def test_loudness_peaks_at_the_frequency(samples):
    """A bin is RATE / WINDOW wide; audio shorter than a window gives one frame with a wider peak."""
    decibels = audio_utils.loudness(np.stack([tone(1000, samples)] * 2))
    assert decibels.shape == (
        audio_utils.WINDOW // 2 + 1,
        1 + -(-max(0, samples - audio_utils.WINDOW) // audio_utils.HOP),
    )
    peak = decibels[:, 0].argmax() * RATE / audio_utils.WINDOW
    assert abs(peak - 1000) <= RATE / min(samples, audio_utils.WINDOW)
    assert decibels.max() == 0


def test_spectrogram_axes():
    audio = np.concatenate([tone(500, 4000), tone(3000, 4000)])[None]
    light = np.asarray(audio_utils.spectrogram(audio).convert("L"), dtype=float)
    height, width = light.shape
    early, late = (light[:, column].argmax() / height for column in (width // 4, 3 * width // 4))
    assert early == pytest.approx(1 - 500 / (RATE / 2), abs=0.02)
    assert late == pytest.approx(1 - 3000 / (RATE / 2), abs=0.02)


def test_silence():
    assert np.isfinite(audio_utils.loudness(np.zeros((1, 1000)))).all()
    assert audio_utils.spectrogram(np.zeros((1, 1000))).size == audio_utils.SIZE
