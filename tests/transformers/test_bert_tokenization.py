"""BERT's tokenizers against transformers', for hundreds of unusual texts."""

import json

import numpy as np
import pytest
import transformers

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError, InputError
from tests.support.bert import tiny_bert_tokenizer
from tests.transformers.test_clip_tokenization import TEXTS, random_texts

NAMES = ["BertTokenizer", "BertTokenizerFast"]
MORE_TEXTS = [
    "unaffable Ünaffäble STRASSE straße ΟΔΟΣ ὈΔΥΣΣΕΎΣ İstanbul ıI",
    "[CLS] [cls] [MASK]in[SEP] a[PAD]b [UNK]",
    "画一只猫，在月球上！「引号」《书名》……——～",
    "㐀𠀀豈丽 ㄅㄆㄇ 〇々〆 ー・ カタカナ",
    "don't-stop_now@home.com $3.50 ^_^ `code` ~a~ |b|",
    "x" * 101 + " " + "a" * 100,
    "a\u00adb c\u2060d \ufffd \x00 \u2028 line\u2029para \u3000wide",
    "٣٤ Ⅻ ½ ①",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    tiny_bert_tokenizer(path / "made").save_pretrained(path / "saved")
    return path / "saved"


def pair(name, folder, **kwargs):
    return (getattr(lib, name).from_pretrained(folder, **kwargs) for lib in (ours_lib, transformers))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False, "tokenize_chinese_chars": False},
    ],
    ids=str,
)
def test_ids_equal(folder, name, settings):
    ours, theirs = pair(name, folder, **settings)
    wrong = []
    for text in [*TEXTS, *MORE_TEXTS, *random_texts(500)]:
        mine, expected = ours(text).input_ids, theirs(text).input_ids
        if mine != expected:
            wrong.append((text, ours.convert_ids_to_tokens(mine), theirs.convert_ids_to_tokens(expected)))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize(
    "settings",
    [{"do_basic_tokenize": False}, {"never_split": ["don't", "$3.50", "unaffable,", "Red", "red."]}],
    ids=str,
)
def test_settings_of_the_slow_tokenizer(folder, settings, tmp_path):
    """transformers does not save `never_split`; we do, and both load the folder that we save."""
    ours, theirs = pair("BertTokenizer", folder, **settings)
    ours.save_pretrained(tmp_path)
    tokenizers = [ours, theirs, *pair("BertTokenizer", tmp_path)]
    texts = [*TEXTS, *MORE_TEXTS, "unaffable, unaffable red Red. red. don't $3.50 don't!", *random_texts(50)]
    assert any(ours(text).input_ids != ours_lib.BertTokenizer.from_pretrained(folder)(text).input_ids for text in texts)
    for text in texts:
        first, *others = (tokenizer(text).input_ids for tokenizer in tokenizers)
        assert all(first == other for other in others), text


def test_texts_use_the_vocabulary(folder):
    ours = ours_lib.BertTokenizer.from_pretrained(folder)
    ids = ours([*TEXTS, *MORE_TEXTS]).input_ids
    known = [i for row in ids for i in row if i != ours.unk_token_id]
    assert len(set(known)) > 60 and any(t.startswith("##") for t in ours.convert_ids_to_tokens(known))


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_truncation(folder, name):
    ours, theirs = pair(name, folder)
    for options in (
        {"padding": "max_length", "max_length": 77, "truncation": True},
        {"padding": True},
        {"padding": "longest", "truncation": True, "max_length": 6},
        {"add_special_tokens": False, "padding": True},
    ):
        mine, expected = (t(TEXTS[:6], return_tensors="np", **options) for t in (ours, theirs))
        assert np.array_equal(mine.input_ids, expected.input_ids), options
        assert np.array_equal(mine.attention_mask, expected.attention_mask), options


@pytest.mark.parametrize("name", NAMES)
def test_decoding(folder, name):
    ours, theirs = pair(name, folder)
    for text in [*TEXTS, *MORE_TEXTS]:
        ids = theirs(text).input_ids
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("name", NAMES)
def test_added_tokens(folder, name):
    ours, theirs = pair(name, folder)
    for tokenizer in (ours, theirs):
        tokenizer.add_tokens(["<cat-toy>", "Big"])
        tokenizer.add_tokens(["<S>"], special_tokens=True)
    assert len(ours) == len(theirs)
    for text in ("a <cat-toy>red Big <S> big <s> circle", "BIG<CAT-TOY>"):
        ids = theirs(text).input_ids
        assert ours(text).input_ids == ids
        assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.parametrize("name", NAMES)
def test_saved_folder_is_loaded_with_both_libraries(folder, tmp_path, name):
    ours = getattr(ours_lib, name).from_pretrained(folder, do_lower_case=False, model_max_length=40)
    ours.add_tokens(["<cat-toy>"])
    ours.save_pretrained(tmp_path)
    again, theirs = pair(name, tmp_path)
    text = "Ein <cat-toy> RED circle 一个红色的圆形"
    assert ours(text).input_ids == again(text).input_ids == theirs(text).input_ids
    assert again.model_max_length == theirs.model_max_length == 40
    for file in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / file).is_file()


def test_only_tokenizer_json(folder, tmp_path):
    fast = ours_lib.BertTokenizerFast.from_pretrained(folder)
    fast.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    again = ours_lib.BertTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS[0]).input_ids == fast(TEXTS[0]).input_ids


def test_bad_folders(tmp_path):
    with pytest.raises(ConfigError, match=r"vocab\.txt, or tokenizer\.json"):
        ours_lib.BertTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(ConfigError, match="does not contain a WordPiece model"):
        ours_lib.BertTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="needs vocab_file or tokenizer_file"):
        ours_lib.BertTokenizer()


def test_an_unknown_token_outside_the_vocabulary(folder):
    for cls in (ours_lib.BertTokenizer, ours_lib.BertTokenizerFast):
        tokenizer = cls.from_pretrained(folder, unk_token="<missing>")
        assert tokenizer.unk_token_id == len(tokenizer) - 1
        assert tokenizer("\u0d9e").input_ids[1:-1] == [tokenizer.unk_token_id]
        with pytest.raises(ConfigError, match="unk_token is empty"):
            cls.from_pretrained(folder, unk_token="")


def test_bad_calls(folder):
    ours = ours_lib.BertTokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match="text 1 is int"):
        ours(["a", 3])
