"""AutoTokenizer loads the class that a folder names."""

import json

import pytest

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.transformers import AutoTokenizer, CLIPTokenizer, CLIPTokenizerFast


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


def write(folder, tokenizer_config=None, config=None):
    target = folder / "tokenizer"
    target.mkdir(exist_ok=True)
    CLIPTokenizer(*vocabulary(folder)).save_pretrained(target)
    for name, content in (("tokenizer_config.json", tokenizer_config), ("config.json", config)):
        if content is None:
            (target / name).unlink(missing_ok=True)
        else:
            (target / name).write_text(json.dumps(content))


def vocabulary(folder):
    letters = ["a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    return folder / "vocab.json", folder / "merges.txt"


@pytest.mark.parametrize(
    ("tokenizer_config", "config"),
    [
        ({"tokenizer_class": "CLIPTokenizer"}, None),
        ({"tokenizer_class": "CLIPTokenizerFast"}, None),
        ({"model_max_length": 9}, {"model_type": "clip_text_model"}),
        (None, {"model_type": "clip"}),
    ],
)
def test_the_class_follows_from_the_folder(tokenizer_config, config, folder):
    write(folder, tokenizer_config, config)
    tokenizer = AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", use_fast=False, model_max_length=5)
    assert type(tokenizer) is CLIPTokenizer and tokenizer.model_max_length == 5
    assert tokenizer("ab").input_ids == [5, 4, 6]


def test_a_fast_tokenizer(folder):
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    write(folder, {"tokenizer_class": "CLIPTokenizer"})
    vocab, merges = vocabulary(folder)
    Tokenizer(BPE.from_file(str(vocab), str(merges))).save(str(folder / "tokenizer" / "tokenizer.json"))
    assert type(AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")) is CLIPTokenizerFast
    assert type(AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", use_fast=False)) is CLIPTokenizer
    (folder / "tokenizer" / "tokenizer.json").unlink()


@pytest.mark.parametrize("named", [{"tokenizer_class": "MagicTokenizer"}, {}])
def test_unknown_classes(named, folder):
    write(folder, named)
    with pytest.raises(ConfigError, match="CLIPTokenizer"):
        AutoTokenizer.from_pretrained(folder / "tokenizer")


def test_it_has_no_objects():
    with pytest.raises(TypeError, match="from_pretrained"):
        AutoTokenizer()
