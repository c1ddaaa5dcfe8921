"""Textual inversion of Stable Diffusion pipelines against diffusers, live: formats, prompts, unloading, saving."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from safetensors.torch import save_file

from ppdiffusers import StableDiffusionPipeline
from ppdiffusers.core.errors import InputError, WeightsError
from tests.pipelines.support import assert_images_agree, call_both, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.parity import assert_close, rng_for

PROMPT = "a red circle by <style>, and <style> again"
ONE, THREE = "<style>", "<toy>"


def vectors(name, *shape):
    return torch.from_numpy(rng_for(name).standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture
def pair(folder):
    return load_both(folder)


def embeds(pipeline, prompt, **kwargs):
    with torch.no_grad():
        return pipeline.encode_prompt(prompt, "cpu", 1, True, **kwargs)


def assert_same(pair, prompt, negative="ugly"):
    for mine, reference in zip(*(embeds(pipeline, prompt, negative_prompt=negative) for pipeline in pair)):
        assert_close(mine, reference)


def _bin(folder):
    torch.save({ONE: torch.nn.Parameter(vectors("one", 32))}, folder / "learned_embeds.bin")
    return folder / "learned_embeds.bin", None


def _safetensors(folder):
    save_file({ONE: vectors("one", 1, 32)}, folder / "learned_embeds.safetensors")
    return folder / "learned_embeds.safetensors", None


def _several_vectors(folder):
    torch.save({ONE: vectors("several", 3, 32)}, folder / "learned_embeds.bin")
    return folder / "learned_embeds.bin", None


def _webui_pickle(folder):
    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors("webui", 2, 32)}, "name": ONE}
    torch.save({**content, "step": 100, "sd_checkpoint": None}, folder / "embedding.pt")
    return folder / "embedding.pt", None


def _webui_safetensors(folder):
    save_file({"emb_params": vectors("webui", 2, 32)}, folder / "embedding.safetensors")
    return folder / "embedding.safetensors", ONE


@pytest.mark.parametrize("save", [_bin, _safetensors, _several_vectors, _webui_pickle, _webui_safetensors])
def test_formats(pair, save, tmp_path):
    before = embeds(pair[0], PROMPT)[0].numpy()
    file, token = save(tmp_path)
    pair[0].load_textual_inversion(file, token=token)
    pair[1].load_textual_inversion(str(tmp_path), weight_name=file.name, token=token)
    assert np.abs(embeds(pair[0], PROMPT)[0].numpy() - before).max() > 1e-2
    assert pair[0].tokenizer.get_vocab() == pair[1].tokenizer.get_vocab()
    assert_same(pair, PROMPT, negative=f"{ONE} ugly")
    mine, reference = call_both(
        *pair, seed=3, prompt=[PROMPT, "a cat"], num_inference_steps=3, height=24, width=32, output_type="np"
    )
    assert_images_agree(mine.images, reference.images)


def test_the_file_name_is_the_token_of_the_web_ui(pair, tmp_path):
    save_file({"emb_params": vectors("webui", 2, 32)}, tmp_path / "my-style.safetensors")
    pair[0].load_textual_inversion(tmp_path / "my-style.safetensors")
    assert {"my-style", "my-style_1"} <= pair[0].tokenizer.get_vocab().keys()


def test_lists_and_tensors(pair, tmp_path):
    _several_vectors(tmp_path)
    pair[0].load_textual_inversion([tmp_path, {THREE: paddle.to_tensor(vectors("toy", 2, 32).numpy())}])
    pair[1].load_textual_inversion([str(tmp_path), {THREE: vectors("toy", 2, 32)}], weight_name="learned_embeds.bin")
    tensor = vectors("tensor", 2, 32)
    for pipeline, some in zip(pair, (paddle.to_tensor(tensor.numpy()), tensor)):
        pipeline.load_textual_inversion(some, token=["<a>", "<b>"])
        pipeline.load_textual_inversion(some[0], token="<c>")
    assert pair[0].tokenizer.get_vocab() == pair[1].tokenizer.get_vocab()
    assert_same(pair, f"<a> {ONE} with <b>, {THREE} <c>")


def test_unload(pair):
    """diffusers' tokenizer still splits at tokens that were removed, so prompts contain only the others."""
    before = embeds(pair[0], PROMPT)[0].numpy()
    for pipeline in pair:
        for name in ("<first>", ONE, THREE):
            pipeline.load_textual_inversion({name: vectors(name, 1, 32)})
        pipeline.unload_textual_inversion("<first>")
    assert pair[0].tokenizer.get_vocab() == pair[1].tokenizer.get_vocab()
    assert_same(pair, f"{ONE} and {THREE}")
    for pipeline in pair:
        pipeline.unload_textual_inversion()
    assert pair[0].tokenizer.get_vocab() == pair[1].tokenizer.get_vocab()
    assert_same(pair, "a red circle")
    assert np.array_equal(embeds(pair[0], PROMPT)[0].numpy(), before)
    with pytest.raises(InputError, match="not learned(.|\n)*<style>"):
        pair[0].unload_textual_inversion(ONE)


def test_unload_several_vectors(pair):
    ours, _ = pair
    expected = embeds(ours, PROMPT)[0].numpy()
    ours.load_textual_inversion({ONE: vectors("several", 3, 32)})
    ours.load_textual_inversion({THREE: vectors("toy", 32)})
    with_toy = embeds(ours, THREE)[0].numpy()
    ours.unload_textual_inversion(ONE)
    assert np.array_equal(embeds(ours, PROMPT)[0].numpy(), expected)
    assert np.array_equal(embeds(ours, THREE)[0].numpy(), with_toy)


def test_weights_and_long_prompts(pair):
    """All vectors get the weight, and a concept in a later chunk is used."""
    ours, _ = pair
    ours.load_textual_inversion({ONE: vectors("several", 3, 32)})
    written_out = "<style> <style>_1 <style>_2"
    for prompt in (f"a cat, ({ONE}:1.4)", "a cat, " * 40 + ONE):
        syntax = {"prompt_syntax": "webui"}
        found = embeds(ours, prompt, **syntax)[0].numpy()
        assert not np.array_equal(found, embeds(ours, prompt.replace(ONE, ""), **syntax)[0].numpy())
        assert ours.maybe_convert_prompt(prompt, ours.tokenizer) == prompt.replace(ONE, written_out)


def test_compiled_text_encoder_follows(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path))
    pair[0].compile(backend="openvino")
    assert_same(pair, PROMPT)
    for pipeline in pair:
        pipeline.load_textual_inversion({ONE: vectors("several", 3, 32)})
    assert_same(pair, PROMPT)
    for pipeline in pair:
        pipeline.unload_textual_inversion()
    assert_same(pair, "a red circle")


def test_saved_pipelines_have_the_tokens(pair, tmp_path):
    ours, _ = pair
    ours.load_textual_inversion({ONE: vectors("several", 3, 32)})
    ours.save_pretrained(tmp_path / "ours")
    ours.save_pretrained(tmp_path / "theirs", to_diffusers=True)
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "ours")
    reference = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "theirs")
    assert np.array_equal(embeds(again, PROMPT)[0].numpy(), embeds(ours, PROMPT)[0].numpy())
    assert_same((ours, reference), PROMPT)


def test_errors(pair, tmp_path):
    ours, _ = pair
    size = len(ours.tokenizer)
    with pytest.raises(InputError, match="already in the vocabulary(.|\n)*of size 7(.|\n)*given twice"):
        ours.load_textual_inversion(
            [{"a": vectors("a", 32)}, {"<b>": vectors("b", 7)}, {"<b>": vectors("b", 32)}, vectors("c", 32)]
        )
    with pytest.raises(InputError, match="has no token"):
        ours.load_textual_inversion(vectors("c", 32))
    with pytest.raises(InputError, match="2 tokens for 3"):
        ours.load_textual_inversion(vectors("c", 3, 32), token=["<a>", "<b>"])
    with pytest.raises(WeightsError, match="not a textual inversion(.|\n)*clip_g"):
        ours.load_textual_inversion({"clip_l": vectors("l", 32), "clip_g": vectors("g", 32)})
    for shape in ((0,), (0, 32), (2, 0), (), (1, 2, 32)):
        with pytest.raises(WeightsError, match="The embedding has shape"):
            ours.load_textual_inversion({"<d>": np.ones(shape, dtype=np.float32)})
    for wrong in ({}, {"a": vectors("a", 32)}, None, vectors("a", 32)):
        with pytest.raises(WeightsError, match="not a textual inversion(.|\n)*string_to_param"):
            ours.load_textual_inversion({"string_to_param": wrong}, token="<d>")
    assert len(ours.tokenizer) == size == ours.text_encoder.get_input_embeddings().weight.shape[0]
