"""Textual inversion of Stable Diffusion XL against diffusers, live: two text encoders, files of the web UI, saving."""

import logging

import diffusers
import numpy as np
import paddle
import pytest
import torch
from safetensors.torch import load_file, save_file

from ppdiffusers import StableDiffusionXLPipeline
from ppdiffusers.core.errors import InputError, WeightsError
from tests.pipelines.support import assert_images_agree, call_both, load_both
from tests.support.parity import assert_close, rng_for
from tests.support.stable_diffusion_xl import WIDTHS, tiny_stable_diffusion_xl

TOKEN = "<style>"
PROMPT, SECOND = f"a red circle by {TOKEN}, and {TOKEN} again", f"{TOKEN}, a cat"
PARTS = ("clip_l", "clip_g")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture
def pair(folder):
    """Loaded for each test: diffusers' tokenizers still split at tokens that were removed."""
    return load_both(folder)


def vectors(count):
    shapes = dict(zip(PARTS, WIDTHS))
    return {part: torch.from_numpy(rng_for(part).standard_normal((count, shapes[part])).astype("f4")) for part in PARTS}


def load_theirs(pipeline, state, token=TOKEN):
    """What diffusers' documentation does with a file for two text encoders."""
    pipeline.load_textual_inversion(state["clip_l"], token=token)
    pipeline.load_textual_inversion(
        state["clip_g"], token=token, text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2
    )


def embeds(pipeline, prompt=PROMPT, prompt_2=None, **kwargs):
    with torch.no_grad():
        return pipeline.encode_prompt(prompt, prompt_2, "cpu", 1, True, f"{TOKEN} ugly", **kwargs)


def assert_same(pair, *prompts):
    for mine, reference in zip(*(embeds(pipeline, *prompts) for pipeline in pair), strict=True):
        assert_close(mine, reference)


@pytest.mark.parametrize("count", [1, 3])
def test_files_of_the_web_ui(pair, count, tmp_path):
    ours, theirs = pair
    before = [tensor.numpy() for tensor in embeds(ours)]
    save_file(vectors(count), tmp_path / "my-style.safetensors")
    ours.load_textual_inversion(tmp_path / "my-style.safetensors", token=TOKEN)
    load_theirs(theirs, load_file(tmp_path / "my-style.safetensors"))
    for name in ("tokenizer", "tokenizer_2"):
        assert getattr(ours, name).get_vocab() == getattr(theirs, name).get_vocab()
    for tensor, unchanged in zip(embeds(ours), before):
        assert np.abs(tensor.numpy() - unchanged).max() > 1e-2
    assert_same(pair)
    assert_same(pair, [PROMPT, "a cat"], [SECOND, "a dog"])
    call = {"prompt": PROMPT, "prompt_2": SECOND, "num_inference_steps": 2, "height": 24, "width": 32}
    mine, reference = call_both(*pair, seed=3, **call, output_type="np")
    assert_images_agree(mine.images, reference.images)


def test_sources(pair, tmp_path):
    """diffusers' calls, dictionaries, lists, folders; the name of a file is its token."""
    ours, theirs = pair
    state = vectors(2)
    arrays = {part: paddle.to_tensor(tensor.numpy()) for part, tensor in state.items()}
    save_file(state, tmp_path / "my-style.safetensors")
    ours.load_textual_inversion([tmp_path, arrays], token=["<a>", "<b>"])
    load_theirs(ours, arrays, "<c>")
    for token in ("<a>", "<b>", "<c>"):
        load_theirs(theirs, state, token)
    assert ours.tokenizer_2.get_vocab() == theirs.tokenizer_2.get_vocab()
    assert_same(pair, "<a> <b>, <c>")
    second = {"text_encoder": ours.text_encoder_2, "tokenizer": ours.tokenizer_2}
    ours.load_textual_inversion({"clip_g": state["clip_g"]}, token="<d>", **second)
    ours.load_textual_inversion(tmp_path / "my-style.safetensors")
    assert {"my-style", "my-style_1"} <= ours.tokenizer.get_vocab().keys() & ours.tokenizer_2.get_vocab().keys()
    assert "<d>_1" in ours.tokenizer_2.get_vocab() and "<d>" not in ours.tokenizer.get_vocab()


def test_weights_and_long_prompts(pair):
    """All vectors get the weight in both encoders, and a concept in a later chunk is used."""
    ours, theirs = pair
    ours.load_textual_inversion(vectors(3), token=TOKEN)
    load_theirs(theirs, vectors(3))
    for prompt in (f"a cat, ({TOKEN}:1.4)", "a cat, " * 40 + TOKEN):
        found = embeds(ours, prompt, prompt_syntax="webui")
        written_out = prompt.replace(TOKEN, f"{TOKEN} {TOKEN}_1 {TOKEN}_2")
        assert ours.maybe_convert_prompt(prompt, ours.tokenizer_2) == written_out
        without = embeds(ours, prompt.replace(TOKEN, ""), prompt_syntax="webui")[0]
        for channels in (slice(WIDTHS[0]), slice(WIDTHS[0], None)):
            assert np.abs((found[0] - without).numpy()[..., channels]).max() > 1e-2
    plain = embeds(ours, f"a cat, {TOKEN}", prompt_syntax="webui")
    assert_close(plain[0], embeds(theirs, f"a cat, {TOKEN}")[0])


def test_unload(pair, caplog):
    ours, theirs = pair
    before = [tensor.numpy() for tensor in embeds(ours, "a red circle")]
    sizes = [len(ours.tokenizer), len(ours.tokenizer_2)]
    ours.load_textual_inversion(vectors(3), token=TOKEN)
    load_theirs(theirs, vectors(3))
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        for pipeline in pair:
            pipeline.unload_textual_inversion()
    assert f"{TOKEN}_2: pass" in caplog.text
    assert_same(pair, "a red circle")
    second = {"text_encoder": ours.text_encoder_2, "tokenizer": ours.tokenizer_2}
    ours.unload_textual_inversion(TOKEN, **second)
    for tensor, unchanged in zip(embeds(ours, "a red circle"), before, strict=True):
        assert np.array_equal(tensor.numpy(), unchanged)
    assert [len(ours.tokenizer), len(ours.tokenizer_2)] == sizes
    assert [
        encoder.get_input_embeddings().weight.shape[0] for encoder in (ours.text_encoder, ours.text_encoder_2)
    ] == sizes


def test_saved_pipelines_have_the_tokens(pair, tmp_path):
    ours, _ = pair
    ours.load_textual_inversion(vectors(3), token=TOKEN)
    ours.save_pretrained(tmp_path / "ours")
    ours.save_pretrained(tmp_path / "theirs", to_diffusers=True)
    again = StableDiffusionXLPipeline.from_pretrained(tmp_path / "ours")
    reference = diffusers.StableDiffusionXLPipeline.from_pretrained(tmp_path / "theirs")
    for mine, expected in zip(embeds(again), embeds(ours), strict=True):
        assert np.array_equal(mine.numpy(), expected.numpy())
    assert_same((ours, reference))


def test_errors(pair, folder):
    ours, _ = pair
    sizes = [len(ours.tokenizer), len(ours.tokenizer_2)]
    state = vectors(2)
    with pytest.raises(InputError, match="nothing was changed(.|\n)*vectors of size 24(.|\n)*vectors of size 32"):
        ours.load_textual_inversion({"clip_l": state["clip_g"], "clip_g": state["clip_l"]}, token=TOKEN)
    with pytest.raises(InputError, match="has no token"):
        ours.load_textual_inversion(state)
    with pytest.raises(WeightsError, match="not a textual inversion(.|\n)*clip_g, other"):
        ours.load_textual_inversion({"clip_g": state["clip_g"], "other": state["clip_l"]}, token=TOKEN)
    with pytest.raises(WeightsError, match="not a textual inversion"):
        ours.load_textual_inversion(state, token=TOKEN, text_encoder=ours.text_encoder, tokenizer=ours.tokenizer)
    ours.load_textual_inversion(state["clip_l"], token=TOKEN)
    with pytest.raises(InputError, match="already in the vocabulary"):
        ours.load_textual_inversion(state, token=TOKEN)
    assert [len(ours.tokenizer) - 2, len(ours.tokenizer_2)] == sizes
    refiner = StableDiffusionXLPipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)
    refiner.load_textual_inversion(state, token=TOKEN)
    assert len(refiner.tokenizer_2) == sizes[1] + 2
