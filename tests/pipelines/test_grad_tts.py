"""GradTTSPipeline and its networks against recorded runs of the original repository (tests/data/grad_tts)."""

import logging

import numpy as np
import paddle
import pytest
import torch
from safetensors.torch import load_file
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from ppdiffusers import (
    CMUDictionary,
    DiffusionPipeline,
    GradTTSPipeline,
    GradTTSPipelineOutput,
    GradTTSScheduler,
    GradTTSTextEncoder,
    HiFiGANModel,
    RecordedNoise,
    UNetGradTTSModel,
    convert_diffusers_to_paddle,
    convert_paddle_to_diffusers,
    convert_to_original,
)
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.masks import sequence_mask
from ppdiffusers.pipelines.grad_tts.alignment import frame_ends, generate_path
from tests.conversion.support import torch_bits
from tests.runtime.support import program_cache
from tests.support import grad_tts
from tests.support.fastdiff import folded
from tests.support.parity import assert_close, randomize
from tests.support.threads import in_threads

__all__ = ["program_cache"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model of one speaker, converted."""
    folder = tmp_path_factory.mktemp("grad_tts")
    return grad_tts.convert(grad_tts.state_dict(), "grad_tts", folder, settings=grad_tts.SETTINGS)


@pytest.fixture(scope="module")
def speakers_folder(tmp_path_factory):
    """The model of three speakers, converted."""
    folder = tmp_path_factory.mktemp("speakers")
    return grad_tts.convert(grad_tts.speakers_state_dict(), "grad_tts", folder, settings=grad_tts.SETTINGS)


@pytest.fixture(scope="module")
def vocoder_folder(tmp_path_factory):
    """The vocoder, converted."""
    tensors = {"generator": grad_tts.vocoder_state_dict()}
    return grad_tts.convert(tensors, "hifigan", tmp_path_factory.mktemp("hifigan"), config=grad_tts.CONFIG["vocoder"])


def loaded(folder, **components):
    pipe = GradTTSPipeline.from_pretrained(folder, **components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(folder):
    return loaded(folder)


@pytest.fixture
def speakers(speakers_folder):
    return loaded(speakers_folder)


@pytest.fixture
def vocoder(vocoder_folder):
    return HiFiGANModel.from_pretrained(vocoder_folder, subfolder="vocoder")


@pytest.fixture(scope="module")
def recorded():
    return grad_tts.recorded()


def tensors(arrays, prefix, *names):
    return [paddle.to_tensor(arrays[f"{prefix}/{name}"]) for name in names]


# -- networks -------------------------------------------------------------------------------------------------------


def test_text_encoder(pipe, recorded):
    with paddle.no_grad():
        found = pipe.text_encoder(*tensors(recorded, "ode/call/encoder/000/in", 0, 1))
    for n, name in enumerate(("mean", "log_durations", "mask")):
        assert_close(found[name].numpy(), recorded[f"ode/call/encoder/000/out.{n}"], 1e-5, name)


def test_text_encoder_of_texts_with_padding(speakers):
    """The recorded texts have 13 and 19 symbols."""
    arrays = grad_tts.recorded("speakers")
    with paddle.no_grad():
        found = speakers.text_encoder(*tensors(arrays, "sde", "x", "lengths"))
    for name in ("mean", "log_durations"):
        assert_close(found[name].numpy(), arrays[f"sde/{name}"], 1e-5, name)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_texts_shorter_than_the_window(length):
    """Attention with relative positions, written out symbol by symbol."""
    layer = GradTTSTextEncoder(hidden_channels=8, filter_channels=8, duration_channels=8, num_layers=1).layers[0]
    attention, rng = layer.attention.eval(), np.random.default_rng(length)
    x = paddle.to_tensor(rng.standard_normal((1, 8, length)).astype("float32"))
    with paddle.no_grad():
        found = attention(x, paddle.zeros([1, 1, length, length])).numpy()
        q, k, v = (
            conv(x)[0].numpy().reshape(2, 4, length) for conv in (attention.conv_q, attention.conv_k, attention.conv_v)
        )
        rel_k, rel_v = attention.emb_rel_k[0].numpy(), attention.emb_rel_v[0].numpy()  # [9, 4]
        out = np.zeros((2, 4, length), "float32")
        for head in range(2):
            for i in range(length):
                keys = [k[head, :, j] + rel_k[j - i + 4] for j in range(length)]
                values = [v[head, :, j] + rel_v[j - i + 4] for j in range(length)]
                scores = np.exp(np.array([q[head, :, i] @ key / 2 for key in keys]))
                out[head, :, i] = scores / scores.sum() @ np.stack(values)
        expected = attention.conv_o(paddle.to_tensor(out.reshape(1, 8, length))).numpy()
    assert_close(found, expected, 1e-5)


def test_unet(pipe, recorded):
    for n in range(5):
        sample, mask, mu, t = tensors(recorded, f"ode/call/estimator/{n:03}/in", 0, 1, 2, 3)
        with paddle.no_grad():
            found = pipe.unet(sample, t, mu, mask).sample.numpy()
        assert_close(found, recorded[f"ode/call/estimator/{n:03}/out"], 1e-4, f"call {n}")


def test_unet_of_several_speakers_with_padding(speakers):
    arrays = grad_tts.recorded("speakers")
    mask, mu = tensors(arrays, "sde", "mask", "mu")
    for n in range(4):
        sample, t = tensors(arrays, f"sde/steps/{n}", "sample", "time")
        with paddle.no_grad():
            found = speakers.unet(sample, t, mu, mask, paddle.to_tensor(grad_tts.SPEAKERS)).sample.numpy()
        assert_close(found, arrays[f"sde/steps/{n}/score"], 1e-4, f"call {n}")


def test_vocoder(vocoder, recorded):
    for run in ("ode", "multispeaker"):
        with paddle.no_grad():
            found = vocoder(*tensors(recorded, f"{run}/call/vocoder/000/in", 0)).sample.numpy()
        assert_close(found, recorded[f"{run}/call/vocoder/000/out"], 1e-5, run)


def test_vocoder_with_the_other_residual_block(tmp_path):
    arrays = grad_tts.recorded("resblock2")
    weights = {name[len("weights/") :]: torch.tensor(value) for name, value in arrays.items() if "weights/" in name}
    config = {"resblock_dilation_sizes": [[1, 2], [2, 6]], "upsample_rates": [5, 3], "sampling_rate": 16000}
    folder = grad_tts.convert(weights, "hifigan", tmp_path, config=config)
    vocoder = HiFiGANModel.from_pretrained(folder, subfolder="vocoder")
    assert (vocoder.config.resblock, vocoder.config.sample_rate, vocoder.hop_size) == ("2", 16000, 15)
    with paddle.no_grad():
        assert_close(vocoder(paddle.to_tensor(arrays["mel"])).sample.numpy(), arrays["audio"], 1e-5)


def test_vocoder_against_transformers():
    """Without weight normalization, with another number of bins and other rates."""
    settings = {
        "upsample_rates": [6, 2, 2],
        "upsample_kernel_sizes": [12, 4, 6],
        "upsample_initial_channel": 24,
        "resblock_kernel_sizes": [3, 5],
        "resblock_dilation_sizes": [[1, 3], [2, 4]],
    }
    config = SpeechT5HifiGanConfig(model_in_dim=12, sampling_rate=16000, normalize_before=False, **settings)
    reference = randomize(SpeechT5HifiGan(config))
    vocoder = HiFiGANModel(cond_channels=12, use_weight_norm=False, **settings)
    names = {name.replace("upsampler.", "ups."): t for name, t in reference.state_dict().items()}
    names = {name: t for name, t in names.items() if name not in ("mean", "scale")}
    assert vocoder.state_dict().keys() == names.keys()
    vocoder.set_state_dict({name: paddle.to_tensor(tensor.numpy()) for name, tensor in names.items()})
    mel = np.random.default_rng(0).standard_normal((2, 12, 9)).astype("float32")
    with paddle.no_grad(), torch.no_grad():
        expected = reference(torch.tensor(mel).transpose(1, 2)).numpy()
        assert_close(vocoder(paddle.to_tensor(mel)).sample[:, 0].numpy(), expected, 1e-5)


# -- durations and solver -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["ode", "multispeaker"])
def test_durations(recorded, run):
    """Frames and alignment from the recorded predictions; the call has length_scale 0.91."""
    mean, log_durations, mask = tensors(recorded, f"{run}/call/encoder/000", "out.0", "out.1", "out.2")
    ends = frame_ends(log_durations, mask, 0.91)
    lengths = ends[:, -1].astype("int64")
    frame_count = recorded[f"{run}/out/mel"].shape[2]
    assert lengths.tolist() == [frame_count]
    total = recorded[f"{run}/out/attn"].shape[3]
    path = generate_path(ends, lengths, total)
    np.testing.assert_array_equal(path.numpy()[None], recorded[f"{run}/out/attn"])
    np.testing.assert_array_equal(sequence_mask(lengths, total, mask.dtype), recorded[f"{run}/call/estimator/000/in/1"])
    means = paddle.matmul(mean, path)[:, :, :frame_count].numpy()
    assert_close(means, recorded[f"{run}/out/encoder_outputs"], 1e-6)


def test_durations_of_texts_with_padding():
    arrays = grad_tts.recorded("speakers")
    mask = paddle.to_tensor((np.arange(19) < arrays["sde/lengths"][:, None]).astype("float32")[:, None])
    ends = frame_ends(*tensors(arrays, "sde", "log_durations"), mask, 1.2)
    lengths = ends[:, -1].astype("int64")
    assert lengths.tolist() == arrays["sde/mask"].sum(axis=(1, 2)).tolist()
    np.testing.assert_array_equal(generate_path(ends, lengths, 84).numpy()[:, None], arrays["sde/attn"])


def test_ode_steps(recorded):
    scheduler = GradTTSScheduler(beta_max=2.0)
    scheduler.set_timesteps(5)
    for n, t in enumerate(scheduler.timesteps):
        call = f"ode/call/estimator/{n:03}"
        assert_close(t.numpy(), recorded[f"{call}/in/3"][0], 1e-6)
        sample, mask, mu = tensors(recorded, f"{call}/in", 0, 1, 2)
        found = scheduler.step(paddle.to_tensor(recorded[f"{call}/out"]), t, sample, mu, mask).prev_sample.numpy()
        after = recorded[f"ode/call/estimator/{n + 1:03}/in/0"] if n < 4 else recorded["ode/out/mel"]
        assert_close(found[:, :, : after.shape[2]], after, 1e-6, f"step {n}")


def test_last_step_of_several_speakers(recorded):
    scheduler = GradTTSScheduler(beta_max=2.0)
    scheduler.set_timesteps(5)
    scheduler.set_begin_index(4)
    sample, mask, mu = tensors(recorded, "multispeaker/call/estimator/004/in", 0, 1, 2)
    score = paddle.to_tensor(recorded["multispeaker/call/estimator/004/out"])
    found = scheduler.step(score, scheduler.timesteps[4], sample, mu, mask).prev_sample.numpy()
    assert_close(found[:, :, :63], recorded["multispeaker/out/mel"], 1e-6)


def test_sde_steps():
    arrays = grad_tts.recorded("speakers")
    scheduler = GradTTSScheduler(beta_max=2.0)
    scheduler.set_timesteps(4)
    mask, mu = tensors(arrays, "sde", "mask", "mu")
    noise = RecordedNoise([arrays[f"sde/noise_{n:03}"] for n in range(1, 5)])
    for n, t in enumerate(scheduler.timesteps):
        sample, score = tensors(arrays, f"sde/steps/{n}", "sample", "score")
        found = scheduler.step(score, t, sample, mu, mask, stochastic=True, generator=noise).prev_sample.numpy()
        after = arrays[f"sde/steps/{n + 1}/sample"] if n < 3 else arrays["sde/mel"]
        assert_close(found[:, :, : after.shape[2]], after, 1e-6, f"step {n}")


def test_scheduler_without_padding_and_its_bad_input():
    scheduler = GradTTSScheduler()
    x = paddle.ones([1, 2, 4])
    with pytest.raises(InputError, match="set_timesteps"):
        scheduler.step(x, 0.5, x, x)
    scheduler.set_timesteps(2)
    assert len(scheduler) == 2 and scheduler.beta(1.0) == 20.0
    prev = scheduler.step(x, scheduler.timesteps[0], 2 * x, 3 * x, return_dict=False)[0]
    np.testing.assert_allclose(prev.numpy(), 2.0)  # mu - x - score is 0
    with pytest.raises(InputError, match="not in the schedule|loop"):
        scheduler.set_timesteps(2)
        scheduler.step(x, 0, x, x)
    with pytest.raises(ConfigError, match="beta_min=3"):
        GradTTSScheduler(beta_min=3, beta_max=2)


# -- whole calls ----------------------------------------------------------------------------------------------------


def test_recorded_run(folder, vocoder, recorded):
    """The defaults of the call are those of the original script: temperature 1.5, length_scale 0.91."""
    pipe, noise = loaded(folder, vocoder=vocoder), RecordedNoise([recorded["ode/noise_000"]])
    found = pipe(grad_tts.TEXT, num_inference_steps=5, dictionary=grad_tts.DICTIONARY, generator=noise)
    assert isinstance(found, GradTTSPipelineOutput) and noise.remaining == 0
    assert_close(found.mels, recorded["ode/out/mel"], 1e-4)
    assert_close(found.encoder_outputs, recorded["ode/out/encoder_outputs"], 1e-5)
    assert_close(found.audios[:, 0], recorded["ode/out/audio"], 1e-4)
    np.testing.assert_array_equal(found.alignments, recorded["ode/out/attn"][:, 0, :, :43])
    assert found.lengths.tolist() == [43] and found.audios.dtype == np.float32


@pytest.mark.parametrize(
    ("run", "call"),
    [
        ("sde", {"num_inference_steps": 4, "temperature": 1.3, "stochastic": True, "length_scale": 1.2}),
        ("ode", {"num_inference_steps": 3, "temperature": 1.0, "length_scale": 1.0}),
    ],
)
def test_several_speakers(speakers, run, call):
    """Two texts of different lengths, each with its speaker."""
    arrays = grad_tts.recorded("speakers")
    noise = RecordedNoise([arrays[name] for name in sorted(arrays) if name.startswith(f"{run}/noise_")])
    dictionary = CMUDictionary.from_file(grad_tts.DICTIONARY)
    found = speakers(grad_tts.TEXTS, spk=grad_tts.SPEAKERS, dictionary=dictionary, generator=noise, **call)
    assert noise.remaining == 0 and found.audios is None
    assert_close(found.mels, arrays[f"{run}/mel"], 1e-4)
    assert_close(found.encoder_outputs, arrays[f"{run}/encoder_outputs"], 1e-5)
    frames = arrays[f"{run}/mask"].sum(axis=(1, 2))
    np.testing.assert_array_equal(found.lengths, frames)


def test_the_speaker_matters(speakers):
    one, same, other = (speakers("cat", spk=spk, generator=0, num_inference_steps=2).mels for spk in (0, [0], 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_waveforms_of_a_batch_end_with_their_texts(folder, vocoder):
    found = loaded(folder, vocoder=vocoder)(["a", "the cat"], generator=[1, 2], num_inference_steps=1, output_type="pd")
    short, longest = found.lengths.tolist()
    assert short < longest and found.audios.shape == [2, 1, longest * 256]
    assert not found.audios[0, :, short * 256 :].numpy().any() and not found.mels[0, :, short:].numpy().any()
    with paddle.no_grad():
        alone = vocoder(found.mels[:1, :, :short]).sample.numpy()
    np.testing.assert_array_equal(found.audios[:1, :, : short * 256].numpy(), alone)


def test_length_scale_and_temperature(pipe):
    slow = pipe("hello world", length_scale=2.0, num_inference_steps=1, generator=0)
    fast = pipe("hello world", length_scale=1.0, num_inference_steps=1, generator=0)
    assert slow.lengths[0] == 2 * fast.lengths[0]
    noise = RecordedNoise([np.ones((1, 80, -(-int(fast.lengths[0]) // 4) * 4), "float32")])
    seen = {}

    def keep(pipe, index, t, given):
        seen[index] = given["latents"]
        return {"latents": given["latents"] * 0}

    calls = []
    mels = pipe(
        "hello world", length_scale=1.0, temperature=2.0, num_inference_steps=2, generator=noise,
        callback_on_step_end=keep, callback=lambda *arguments: calls.append(arguments), return_dict=False,
    )[0]  # fmt: skip
    assert sorted(seen) == [0, 1] and not mels.any() and [call[0] for call in calls] == [0, 1]


def test_interruption(pipe):
    def stop(pipe, index, t, given):
        pipe._interrupt = True

    stopped = pipe("cat", generator=0, num_inference_steps=3, callback_on_step_end=stop).mels
    whole = pipe("cat", generator=0, num_inference_steps=3).mels
    assert np.abs(stopped - whole).max() > 1e-3


def test_characters_without_a_symbol_are_named(pipe, caplog):
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    ids = pipe.text_to_ids("cats")
    assert "cannot be spoken" not in caplog.text
    assert pipe.text_to_ids("ca@ts#") == ids and "# @ cannot be spoken" in caplog.text


# -- saving, conversion, engines, threads -----------------------------------------------------------------------------


def test_saving_loading_and_both_layouts(folder, vocoder, tmp_path):
    pipe = loaded(folder, vocoder=vocoder)
    call = {"text": "cat", "num_inference_steps": 2, "generator": 0}
    expected = pipe(**call)
    pipe.save_pretrained(tmp_path / "saved")
    convert_paddle_to_diffusers(tmp_path / "saved", tmp_path / "torch", progress=False)
    convert_diffusers_to_paddle(tmp_path / "torch", tmp_path / "paddle", verify=True, progress=False)
    for name in ("saved", "torch", "paddle"):
        again = DiffusionPipeline.from_pretrained(tmp_path / name)
        assert type(again) is GradTTSPipeline
        np.testing.assert_array_equal(again(**call).audios, expected.audios)
    convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "again", progress=False)
    for component in ("text_encoder", "unet", "vocoder"):
        assert torch_bits(tmp_path / "again" / component) == torch_bits(tmp_path / "torch" / component)


def test_every_tensor_survives_the_round_trip(folder, speakers_folder, vocoder_folder, tmp_path):
    for source, family, state in (
        (folder, "grad_tts", grad_tts.state_dict()),
        (speakers_folder, "grad_tts", grad_tts.speakers_state_dict()),
        (vocoder_folder, "hifigan", grad_tts.vocoder_state_dict()),
    ):
        output = tmp_path / source.parent.name
        convert_to_original(source, output, family, progress=False)
        back = load_file(output / "model.safetensors")
        assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_converted_configuration(folder, speakers_folder):
    encoder, unet = (grad_tts.CONFIG["grad_tts"][key] for key in ("n_enc_channels", "dec_dim"))
    pipe = GradTTSPipeline.from_pretrained(folder)
    assert (pipe.text_encoder.config.hidden_channels, pipe.unet.config.dim) == (encoder, unet)
    assert pipe.text_encoder.config.num_heads == 2 and pipe.text_encoder.config.window_size == 4
    assert (pipe.scheduler.config.beta_min, pipe.scheduler.config.beta_max) == (0.05, 2.0)
    assert pipe.unet.config.n_spks == 1 and list(pipe.unet.config.dim_mults) == [1, 2, 4]
    unet = UNetGradTTSModel.from_pretrained(speakers_folder, subfolder="unet")
    assert (unet.config.n_spks, unet.config.spk_emb_dim) == (3, 8)


def test_folded_weight_normalization(recorded, tmp_path):
    tensors_of = folded(grad_tts.vocoder_state_dict())
    folder = grad_tts.convert(tensors_of, "hifigan", tmp_path, config=grad_tts.CONFIG["vocoder"])
    vocoder = HiFiGANModel.from_pretrained(folder, subfolder="vocoder")
    assert vocoder.config.use_weight_norm is False
    with paddle.no_grad():
        found = vocoder(*tensors(recorded, "ode/call/vocoder/000/in", 0)).sample.numpy()
    assert_close(found, recorded["ode/call/vocoder/000/out"], 1e-5)


def test_compiled(folder, vocoder, program_cache):
    """Two speakers in a batch are compiled by tests/runtime/test_every_network.py."""
    pipe = loaded(folder, vocoder=vocoder)
    eager = pipe("cat", num_inference_steps=2, generator=0)
    pipe.compile(mode="on")
    found = pipe("cat", num_inference_steps=2, generator=0)
    assert_close(found.mels, eager.mels, 1e-4)
    assert_close(found.audios, eager.audios, 1e-4)


def test_threads(pipe):
    texts = ["hello", "the cat", "world"]
    expected = [pipe(text, generator=n, num_inference_steps=2).mels for n, text in enumerate(texts)]
    found = in_threads(
        [lambda n=n, text=text: pipe(text, generator=n, num_inference_steps=2).mels for n, text in enumerate(texts)]
    )
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, wanted)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ""}, "nothing to say"),
        ({"text": ["cat", "@@"]}, "'@@' has nothing to say"),
        ({"text": []}, "empty list"),
        ({"text": 3}, "`text` must be a string"),
        ({"text": None}, "`text` is required"),
        ({"text": "a {HH AW9} b"}, "unknown phonemes in braces: AW9"),
        ({"text": "a", "num_inference_steps": 0}, "num_inference_steps"),
        ({"text": "a", "temperature": 0}, "`temperature` must be above 0"),
        ({"text": "a", "length_scale": float("nan")}, "length_scale"),
        ({"text": "a", "spk": 0}, "one speaker"),
        ({"text": "a", "generator": [1, 2]}, "generator"),
        ({"text": "a", "output_type": "pil"}, "output_type"),
        ({"text": "a", "dictionary": 3}, "`dictionary` must be a CMUDictionary or a path"),
        ({"text": "a", "callback_on_step_end": 3}, "callable"),
    ],
)
def test_bad_arguments(pipe, arguments, message):
    with pytest.raises(InputError, match=message):
        pipe(**arguments)


@pytest.mark.parametrize("spk", [None, 3, -1, 1.5, "0", [0], [0, 3], [0, 1, 2]])
def test_speakers_out_of_range(speakers, spk):
    with pytest.raises(InputError, match="`spk`"):
        speakers(["a", "b"], spk=spk)


def test_all_problems_are_listed(pipe):
    with pytest.raises(InputError) as raised:
        pipe("", temperature=-1, spk=2, output_type="x")
    assert len(raised.value.problems) == 4


def test_a_vocoder_for_other_spectrograms(folder):
    other = HiFiGANModel(40, (4, 2), (8, 4), 8, (3,), ((1,),), sample_rate=16000)
    with pytest.raises(InputError) as raised:
        loaded(folder, vocoder=other)("cat")
    for message in ("80 mel bins", "256 samples for each frame", "22050 Hz"):
        assert message in str(raised.value)


def test_a_text_encoder_with_other_symbols(pipe):
    encoder = GradTTSTextEncoder(60, 40, 8, 8, 8, 2, 1)
    with pytest.raises(InputError) as raised:
        GradTTSPipeline(text_encoder=encoder, unet=pipe.unet, scheduler=pipe.scheduler)("cat")
    assert "60 symbols" in str(raised.value) and "40 mel bins" in str(raised.value)


def test_a_model_without_blanks(pipe):
    encoder = GradTTSTextEncoder(148, 80, 8, 8, 8, 2, 1)
    without = GradTTSPipeline(text_encoder=encoder, unet=pipe.unet, scheduler=pipe.scheduler)
    assert without.text_to_ids("cat") == pipe.text_to_ids("cat")[1::2]


def test_durations_that_are_not_finite(pipe):
    pipe.text_encoder.duration_predictor.proj.bias.set_value(paddle.to_tensor([float("nan")]))
    with pytest.raises(InputError, match="durations that are not finite"):
        pipe("cat")


def test_shapes_that_do_not_fit_the_networks(pipe, speakers, vocoder):
    x = paddle.zeros([1, 80, 8])
    with pytest.raises(InputError, match="multiple of 4"):
        pipe.unet(x[:, :, :6], 0.5, x[:, :, :6])
    with pytest.raises(InputError, match=r"\[B, 80, L\]"):
        pipe.unet(x[:, :40], 0.5, x[:, :40])
    with pytest.raises(InputError, match="3 speaker"):
        speakers.unet(x, 0.5, x)
    with pytest.raises(InputError, match=r"\[B, 80, L\]"):
        vocoder(paddle.zeros([1, 79, 4]))
    with pytest.raises(InputError, match=r"\[B, T\]"):
        pipe.text_encoder(paddle.zeros([3], dtype="int64"))
    with pytest.raises(InputError, match="one for each text"):
        pipe.text_encoder(paddle.zeros([2, 3], dtype="int64"), paddle.to_tensor([3]))


@pytest.mark.parametrize(
    ("network", "config", "message"),
    [
        (GradTTSTextEncoder, {"num_heads": 5, "kernel_size": 2, "window_size": -1}, "window_size=-1"),
        (GradTTSTextEncoder, {"num_layers": 0}, "num_layers=0"),
        (UNetGradTTSModel, {"dim": 7, "n_feats": 82}, "dim=7"),
        (UNetGradTTSModel, {"dim_mults": (2, 4), "n_spks": 0}, "do not begin with 1"),
        (HiFiGANModel, {"upsample_kernel_sizes": (15, 16, 4, 4)}, "plus even numbers"),
        (HiFiGANModel, {"upsample_rates": (8, 8), "resblock": "3"}, "differ in length"),
        (HiFiGANModel, {"resblock_kernel_sizes": (3, 7), "upsample_initial_channel": 4}, "too small"),
    ],
)
def test_networks_that_cannot_be_built(network, config, message):
    with pytest.raises(ConfigError, match=message):
        network(**config)


def test_conversion_reports_problems(tmp_path):
    with pytest.raises(ConfigError, match="hop_size"):
        config = {**grad_tts.CONFIG["vocoder"], "hop_size": 300}
        grad_tts.convert(grad_tts.vocoder_state_dict(), "hifigan", tmp_path / "a", config=config)
    with pytest.raises(ConfigError, match="resblock_dilation_sizes"):
        config = {"resblock_dilation_sizes": "1,3"}
        grad_tts.convert(grad_tts.vocoder_state_dict(), "hifigan", tmp_path / "b", config=config)
    assert not (tmp_path / "a/paddle").exists() and not (tmp_path / "b/paddle").exists()
