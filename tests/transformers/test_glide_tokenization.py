"""GLIDE's tokenizer against recorded ids of the original, and against transformers' GPT-2 tokenizer."""

import json

import numpy as np
import pytest
import transformers

from ppdiffusers import GlideTokenizer
from ppdiffusers.core.errors import ConfigError
from tests.support import glide

TEXTS = [
    "an oil painting of a corgi",
    "It's  A CAT,\n\twe'll see 12 of 'em!",
    "naïve café 猫 🐱  ",
    "",
    " ",
    "<|endoftext|> in the text",
    "ΑΣ \u0130stanbul \u00a0\u3000x\x00y",
]


@pytest.fixture(scope="module")
def tokenizer():
    return GlideTokenizer(glide.MERGES, model_max_length=32)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """GPT-2's tokenizer with the same vocabulary, without the end token, which it matches in texts."""
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = GlideTokenizer(glide.MERGES)
    tokenizer.save_pretrained(folder / "ours")
    return transformers.GPT2Tokenizer(
        folder / "ours" / "vocab.json", folder / "ours" / "merges.txt", unk_token="!", bos_token="!", eos_token="!"
    )


def test_recorded_ids(tokenizer):
    recorded = glide.recorded()
    for n in range(4):
        ids = recorded[f"tokenizer/tiny/{n}"].tolist()
        assert tokenizer.encode(tokenizer.decode(ids)) == ids
    assert tokenizer.encode(TEXTS[0]) == recorded["tokenizer/tiny/0"].tolist()
    encoded = tokenizer([TEXTS[0], ""], padding="max_length", truncation=True, return_tensors="np")
    np.testing.assert_array_equal(encoded.input_ids, recorded["corgi/call/base/000/in/tokens"])
    np.testing.assert_array_equal(encoded.attention_mask, recorded["corgi/call/base/000/in/mask"])


@pytest.mark.parametrize("text", TEXTS)
def test_ids_of_gpt2(tokenizer, reference, text):
    ids = tokenizer.encode(text)
    assert ids == reference.encode(text.lower(), split_special_tokens=True)
    assert tokenizer.decode(ids) == text.lower()


def test_padded_tokens_and_mask(tokenizer):
    """The interface of the original."""
    assert tokenizer.padded_tokens_and_mask([5, 6], 4) == ([5, 6, 456, 456], [True, True, False, False])
    assert tokenizer.padded_tokens_and_mask([5, 6, 7], 2) == ([5, 6], [True, True])


def test_saving_and_loading(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = GlideTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == 32 and again.get_vocab() == tokenizer.get_vocab()
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    (tmp_path / "vocab.json").unlink()  # it follows from the merges
    assert GlideTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


def test_vocabularies_that_do_not_fit(tokenizer, tmp_path):
    vocabulary = tokenizer.get_vocab()
    for removed, message in (("z", "lacks bytes"), ("".join(tokenizer.merges[0]), "Merge rules")):
        changed = {token: index for token, index in vocabulary.items() if token != removed}
        (tmp_path / "vocab.json").write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=message):
            GlideTokenizer(glide.MERGES, tmp_path / "vocab.json")
    (tmp_path / "merges.txt").write_text("a b c\n")
    with pytest.raises(ConfigError, match="3 parts"):
        GlideTokenizer(tmp_path / "merges.txt")
