"""Text to speech: Grad-TTS (Popov et al. 2021, https://arxiv.org/abs/2105.06337)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.attention.masks import sequence_mask
from ppdiffusers.pipelines.grad_tts.alignment import frame_ends, generate_path
from ppdiffusers.pipelines.grad_tts.cmu_dictionary import CMUDictionary
from ppdiffusers.pipelines.grad_tts.pipeline_output import GradTTSPipelineOutput
from ppdiffusers.pipelines.grad_tts.symbols import BLANK, PADDING, SYMBOLS, text_to_ids, with_blanks
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stages import checks, mels
from ppdiffusers.pipelines.stages.denoise import StepCallbacks, inference
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.transformers.text_encoder_grad_tts import GradTTSTextEncoder
    from ppdiffusers.models.unets.unet_grad_tts import UNetGradTTSModel
    from ppdiffusers.models.vocoders.hifigan import HiFiGANModel
    from ppdiffusers.pipelines.stages.denoise import Callback, StepEndCallback
    from ppdiffusers.schedulers.scheduling_grad_tts import GradTTSScheduler

logger = get_logger(__name__)


class GradTTSPipeline(DiffusionPipeline):
    """Generate the mel spectrogram of an English text and, with a vocoder, its waveform.

    Args:
        text_encoder: a `GradTTSTextEncoder`; one symbol more than `SYMBOLS` means that it was trained with blanks.
        unet: a `UNetGradTTSModel` that predicts the score.
        scheduler: a `GradTTSScheduler`.
        vocoder: a `HiFiGANModel` for the same spectrograms.
    """

    text_encoder: GradTTSTextEncoder
    unet: UNetGradTTSModel
    scheduler: GradTTSScheduler
    vocoder: HiFiGANModel | None
    _optional_components = ("vocoder",)

    def __init__(
        self,
        text_encoder: GradTTSTextEncoder,
        unet: UNetGradTTSModel,
        scheduler: GradTTSScheduler,
        vocoder: HiFiGANModel | None = None,
    ):
        super().__init__()
        self.register_modules(text_encoder=text_encoder, unet=unet, scheduler=scheduler, vocoder=vocoder)

    @inference
    def __call__(
        self,
        text: str | list[str],
        num_inference_steps: int = 10,
        temperature: float = 1.5,
        length_scale: float = 0.91,
        stochastic: bool = False,
        spk: int | Sequence[int] | None = None,
        dictionary: CMUDictionary | str | os.PathLike | None = None,
        generator: Generator = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> GradTTSPipelineOutput | tuple:
        """Generate speech.

        Args:
            text: an English text, or several. Phonemes of ARPAbet may be written in braces: "{HH AH0 L OW1}".
            num_inference_steps: number of steps of the solver.
            temperature: the initial noise is divided by it: larger values give less variety.
            length_scale: factor of all durations: larger values give slower speech.
            stochastic: solve the SDE, with noise at each step, in place of the ODE.
            spk: speaker, from 0, for a model of several speakers: a number, or one for each text.
            dictionary: a `CMUDictionary`, or the path of its file. Without it words are spelled by their letters; the
                published models were trained with phonemes.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each text.
            output_type: "np" for arrays, "pd" for tensors.
            return_dict: if False, return a tuple.
            callback_on_step_end, callback_on_step_end_tensor_inputs: called after each step as
                `f(pipeline, index, timestep, {"latents": the spectrogram})`; may return tensors to replace.
            callback, callback_steps: called as `f(index, timestep, latents)` every `callback_steps` steps.

        Returns:
            `mels` [B, M, L], `lengths` [B] and, with a vocoder, `audios` [B, 1, L * hop_size]; further, what the text
            encoder predicts: `encoder_outputs` and `alignments`. Several texts are padded to one length, as in the
            original, whose attention reads the padding: a text gives slightly different speech alone.

        Raises:
            InputError: invalid arguments; all of them are listed.
            ConfigError: the dictionary cannot be read.
        """
        step_callbacks = StepCallbacks(
            callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps
        )
        problems = [
            *checks.check_counts(num_inference_steps=num_inference_steps),
            *_check_positive(temperature=temperature, length_scale=length_scale),
            *checks.check_generator(generator, checks.num_prompts(text)),
            *([] if output_type in ("np", "pd") else [f"`output_type` must be 'np' or 'pd', not {output_type!r}"]),
            *checks.check_callbacks(
                callback_on_step_end=callback_on_step_end,
                tensor_inputs=step_callbacks.tensor_inputs,
                allowed=("latents",),
                callback=callback,
                callback_steps=callback_steps,
            ),
            *self._check_components(),
            *self._check_speakers(spk, checks.num_prompts(text)),
        ]
        ids, text_problems = self._encode_text(text, dictionary)
        checks.raise_problems(self, problems, text_problems)

        mu, mask, alignments, lengths = self._predict_means(ids, length_scale)  # [B, M, F], [B, 1, F], [B, T, F], [B]
        generator = as_generator(generator)
        noise = randn_tensor(mu.shape, generator=generator, dtype=mu.dtype)
        latents = (mu + noise * (1 / temperature)) * mask  # [B, M, F]
        speakers = None if spk is None else paddle.to_tensor(np.broadcast_to(np.asarray(spk, "int64"), [len(ids)]))

        def predict(index: int, t: Any, tensors: dict[str, Any]) -> paddle.Tensor:
            return self.unet(tensors["latents"], t, mu, mask, speakers, return_dict=False)[0]  # [B, M, F]

        self.scheduler.set_timesteps(num_inference_steps)
        self._interrupt = False
        loop = step_callbacks.loop(self, self.scheduler.timesteps, num_inference_steps)
        step_kwargs = {"mu": mu, "mask": mask, "stochastic": stochastic, "generator": generator}
        latents = loop.run(predict, {"latents": latents}, step_kwargs)["latents"]
        loop.finite.warn()
        frames = int(lengths.max())
        latents, mu, alignments = (tensor[:, :, :frames] for tensor in (latents, mu, alignments))
        audios = None if self.vocoder is None else self._vocode(latents, lengths)

        def converted(tensor: paddle.Tensor | None) -> Any:
            return tensor if tensor is None or output_type == "pd" else tensor.astype("float32").numpy()

        output = GradTTSPipelineOutput(
            mels=converted(latents),
            lengths=lengths,
            encoder_outputs=converted(mu),
            alignments=converted(alignments),
            audios=converted(audios),
        )
        return output if return_dict else output.to_tuple()

    def text_to_ids(self, text: str, dictionary: CMUDictionary | None = None) -> list[int]:
        """Convert a text to the ids that the text encoder reads; characters without a symbol are left out.

        Raises:
            InputError: the text has no symbol, or unknown phonemes in braces.
        """
        ids, left_out = text_to_ids(text, dictionary)
        if not ids:
            raise InputError(
                f"The text {text[:80]!r} has nothing to say.",
                expected=f"letters, phonemes in braces, or some of {''.join(SYMBOLS[1:12])}",
            )
        if left_out:
            logger.warning("%s cannot be spoken and is left out of the text %r.", " ".join(left_out), text[:80])
        return with_blanks(ids) if self.text_encoder.config.vocab_size > BLANK else ids

    def _encode_text(self, text: Any, dictionary: Any) -> tuple[list[list[int]], list[str]]:
        """Return the ids of each text, and the problems of the arguments."""
        problems = ["`text` is required"] if text is None else checks.check_strings("text", text)
        if not isinstance(dictionary, CMUDictionary | str | os.PathLike | None):
            problems.append(f"`dictionary` must be a CMUDictionary or a path, not {type(dictionary).__name__}")
        if problems:
            return [], problems
        if isinstance(dictionary, str | os.PathLike):
            dictionary = CMUDictionary.from_file(dictionary)
        ids = []
        for one in [text] if isinstance(text, str) else text:
            try:
                ids.append(self.text_to_ids(one, dictionary))
            except InputError as error:
                problems.append(f"{error.what} Expected: {error.expected}")
        return ids, problems

    def _predict_means(
        self, ids: Sequence[Sequence[int]], length_scale: float
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, np.ndarray]:
        """Return the means [B, M, F], the mask of frames [B, 1, F], the alignments [B, T, F] and the lengths [B].

        F, the number of frames, is rounded up to what the UNet can halve.
        """
        counts = np.array([len(one) for one in ids])
        padded = np.full([len(ids), counts.max()], SYMBOLS.index(PADDING))  # [B, T]
        for row, one in zip(padded, ids, strict=True):
            row[: len(one)] = one
        encoded = self.text_encoder(paddle.to_tensor(padded), paddle.to_tensor(counts))
        # in float32: half precision has no exact numbers of frames above 2048
        durations, mask = (tensor.astype("float32") for tensor in (encoded.log_durations, encoded.mask))
        ends = frame_ends(durations, mask, length_scale)  # [B, T]
        totals = ends[:, -1].numpy()  # the size of all that follows
        if not np.isfinite(totals).all():
            raise InputError(
                "The text encoder predicts durations that are not finite.",
                remedy="check its weights; in half precision, try float32.",
            )
        lengths = np.maximum(totals, 1).astype(np.int64)  # [B]
        multiple = self.unet.frame_multiple
        total = -(-int(lengths.max()) // multiple) * multiple
        path = generate_path(ends, paddle.to_tensor(lengths), total)  # [B, T, F]
        path = path.astype(encoded.mean.dtype)
        mask = sequence_mask(paddle.to_tensor(lengths), total, path.dtype)
        return paddle.matmul(encoded.mean, path), mask, path, lengths

    def _vocode(self, spectrograms: paddle.Tensor, lengths: np.ndarray) -> paddle.Tensor:
        """Generate waveforms [B, 1, L * hop_size] from spectrograms [B, M, L], each from its own frames alone."""
        spectrograms = spectrograms.astype(dtype_of(self.vocoder))
        longest, waveforms = spectrograms.shape[-1], []
        for spectrogram, length in zip(spectrograms, lengths.tolist(), strict=True):
            waveform = self.vocoder(spectrogram[None, :, :length], return_dict=False)[0]  # [1, 1, length * hop_size]
            waveforms.append(F.pad(waveform, [0, (longest - length) * self.vocoder.hop_size]))
        return paddle.concat(waveforms)

    def _check_components(self) -> list[str]:
        """The networks fit together."""
        encoder, unet, problems = self.text_encoder.config, self.unet.config, []
        if encoder.vocab_size not in (BLANK, BLANK + 1):
            problems.append(
                f"the `text_encoder` has {encoder.vocab_size} symbols: the text front end has {BLANK}, or {BLANK + 1} "
                "with the blank"
            )
        if encoder.num_mel_bins != unet.n_feats:
            problems.append(f"the `text_encoder` has {encoder.num_mel_bins} mel bins, the `unet` {unet.n_feats}")
        if self.vocoder is not None:
            settings = {"hop_size": encoder.hop_size, "sample_rate": encoder.sample_rate}
            problems += mels.check_vocoder(self.vocoder, bins=encoder.num_mel_bins, **settings)
        return problems

    def _check_speakers(self, spk: Any, texts: int | None) -> list[str]:
        """Each is a speaker of the model, and a list has one for each text."""
        count = self.unet.config.n_spks
        if count == 1:
            return [] if spk is None else ["`spk` is given, and the model has one speaker: omit it"]
        expected = f"`spk` must be a whole number from 0 to {count - 1}, or a list with one for each text"
        speakers = list(spk) if isinstance(spk, Sequence | np.ndarray) and not isinstance(spk, str) else [spk]
        if not all(checks.is_integer(speaker) and 0 <= speaker < count for speaker in speakers):
            return [f"{expected}, not {spk!r}"]
        if speakers != [spk] and texts is not None and len(speakers) != texts:
            return [f"`spk` has {len(speakers)} speaker(s) for {texts} text(s)"]
        return []


def _check_positive(**values: Any) -> list[str]:
    """Each is a finite number above 0."""
    problems = checks.check_numbers(**values)
    return problems or [f"`{name}` must be above 0, not {value!r}" for name, value in values.items() if value <= 0]
