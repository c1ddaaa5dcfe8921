"""Prompt encoders and conditioning; `tests/pipelines/test_prompts.py` tests long prompts and weights."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.prompt_encoders import Conditioning, PromptEncoder, encode_prompts, prompt_settings
from tests.pipelines.support import PROMPTS, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.parity import assert_close, noise


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return load_both(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False))


@pytest.fixture
def encoder(pair):
    return PromptEncoder(pair[0].tokenizer, pair[0].text_encoder)


def test_guided_conditioning():
    positive, negative = paddle.ones([2, 7, 6]), paddle.zeros([2, 7, 6])
    guided = Conditioning(positive, negative).guided()
    assert guided.shape == [4, 7, 6] and [float(row.max()) for row in guided] == [0, 0, 1, 1]
    assert Conditioning(positive).guided() is positive


def test_prompt_settings_without_defaults():
    assert prompt_settings("plain", None) == prompt_settings("plain", "truncate") == {}
    for settings in (("webui", None), ("webui", "truncate"), ("plain", "split")):
        assert prompt_settings(*settings) == {"prompt_syntax": settings[0], "long_prompts": settings[1]}


def test_hidden_states_agree_with_diffusers(pair, encoder):
    _, theirs = pair
    tokens = theirs.tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs.text_encoder(tokens.input_ids)[0]
    assert_close(encoder.encode(PROMPTS), expected)
    ids, mask = encoder.tokenize(PROMPTS)
    np.testing.assert_array_equal(ids, tokens.input_ids.numpy())
    np.testing.assert_array_equal(mask, tokens.attention_mask.numpy())


@pytest.mark.parametrize("can_split", [False, True])
def test_warning_of_truncation(pair, caplog, can_split):
    encoder = PromptEncoder(pair[0].tokenizer, pair[0].text_encoder, can_split=can_split)
    assert encoder.encode(["a " * 100 + "zebra"], warn=True).shape[1] == encoder.max_length == 77
    assert "zebra" in caplog.text and ("long_prompts" in caplog.text) == can_split


def test_conditioning_of_prompts(encoder):
    guided = encode_prompts(encoder, prompt=PROMPTS, negative_prompt="blurry", num_images_per_prompt=2)
    assert guided.prompt_embeds.shape == guided.negative_prompt_embeds.shape == [4, 77, 32]
    np.testing.assert_array_equal(guided.prompt_embeds[0].numpy(), guided.prompt_embeds[1].numpy())
    assert_close(guided.negative_prompt_embeds[3:], encoder.encode(["blurry"]), 1e-5)
    plain = encode_prompts(encoder, prompt=PROMPTS, do_classifier_free_guidance=False)
    assert plain.negative_prompt_embeds is None and plain.guided().shape == [2, 77, 32]


def test_given_embeddings_need_no_text_encoder():
    embeds = paddle.to_tensor(noise((2, 9, 6)))
    conditioning = encode_prompts(
        PromptEncoder(None, None), prompt=None, prompt_embeds=embeds, negative_prompt_embeds=embeds, dtype="bfloat16"
    )
    assert conditioning.guided().shape == [4, 9, 6] and conditioning.prompt_embeds.dtype == paddle.bfloat16


def test_prompts_require_a_text_encoder():
    with pytest.raises(InputError, match="no tokenizer or no text encoder"):
        encode_prompts(PromptEncoder(None, None), prompt="a")


def test_clip_skip(pair, encoder):
    with torch.no_grad():
        expected, _ = pair[1].encode_prompt("a cat", "cpu", 1, False, clip_skip=1)
    assert_close(encoder.encode(["a cat"], clip_skip=1), expected)
    with pytest.raises(InputError, match="clip_skip=9"):
        encoder.encode(["a cat"], clip_skip=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_syntax": "compel"}, "`prompt_syntax` must be"),
        ({"long_prompts": "cut"}, "`long_prompts` must be"),
        ({"prompt_syntax": "compel", "long_prompts": "cut"}, r"`prompt_syntax`(.|\n)*`long_prompts`"),
    ],
)
def test_unknown_settings(encoder, settings, message):
    with pytest.raises(InputError, match=message):
        encode_prompts(encoder, prompt="a", **settings)
