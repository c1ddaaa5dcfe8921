"""XLM-RoBERTa's tokenizers against transformers'."""

import json
import shutil
import unicodedata

import numpy as np
import pytest
import transformers
from tokenizers import AddedToken

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError
from tests.support.sentencepiece_models import xlm_roberta_model
from tests.support.xlm_roberta import tiny_xlm_roberta_tokenizer
from tests.transformers.test_clip_tokenization import TEXTS, random_texts

NAMES = ["XLMRobertaTokenizer", "XLMRobertaTokenizerFast"]
MORE_TEXTS = [
    "一个红色的圆形，白色背景", "　全角　空格　", "ＦＵＬＬ ｗｉｄｔｈ １２３", "①②③ ½ ㎏ ﬁre ﷺ", "한글 각 가",
    "a <mask> b", "a   <mask>", "<s>in</s> <pad><unk>", "＜s＞ ＜unk＞ ＜mask＞", "▁under ▁ ▁▁", "▁",
    "e\u0301 e\u0301\u0323 a\u030a\u0301", "\u200b\u200d\ufeff zero", "\x00\x01\x7f", "\u3099か\u3099", "ｶﾞｷﾞ",
    "tab\tnew\nline\r\nx", "…！？～——",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e8\U0001f1f3", "\ufffd \U0010fffd", "x" * 300,
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("xlm")
    tiny_xlm_roberta_tokenizer(path / "made").save_pretrained(path / "saved")
    return path / "saved"


@pytest.fixture(scope="module")
def fast_folder(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("fast")
    transformers.XLMRobertaTokenizerFast.from_pretrained(folder).save_pretrained(path)
    return path


def pair(name, folder, **kwargs):
    return (getattr(lib, name).from_pretrained(folder, **kwargs) for lib in (ours_lib, transformers))


def assert_ids_equal(ours, theirs, texts):
    wrong = []
    for text in texts:
        mine, expected = ours(text).input_ids, theirs(text).input_ids
        if mine != expected:
            wrong.append((text, ours.convert_ids_to_tokens(mine), theirs.convert_ids_to_tokens(expected)))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("name", NAMES)
def test_ids_equal(folder, name):
    assert_ids_equal(*pair(name, folder), [*TEXTS, *MORE_TEXTS, *random_texts(500)])


def test_ids_equal_for_each_normalized_character(folder):
    """Characters that normalization replaces, between letters and at the ends of a text."""
    chars = (chr(n) for n in range(0x30000) if not 0xD800 <= n < 0xE000)
    changed = [c for c in chars if unicodedata.normalize("NFKC", c) != c]
    assert len(changed) > 4000
    texts = [f"{a}a{b}b {c}" for a, b, c in zip(changed, changed[1:], changed[2:], strict=False)][::3]
    assert_ids_equal(*pair("XLMRobertaTokenizer", folder), texts)


@pytest.mark.parametrize("rule", ["identity", "nfkc", "nmt_nfkc_cf"])
def test_normalization_rules(tmp_path, rule):
    tiny_xlm_roberta_tokenizer(tmp_path / "made", rule).save_pretrained(tmp_path / "saved")
    assert_ids_equal(*pair("XLMRobertaTokenizer", tmp_path / "saved"), [*TEXTS, *MORE_TEXTS, *random_texts(50)])


def test_texts_use_the_vocabulary(folder):
    ours = ours_lib.XLMRobertaTokenizer.from_pretrained(folder)
    used = {index for text in [*TEXTS, *MORE_TEXTS] for index in ours(text).input_ids}
    assert len(used) > 60 and ours.unk_token_id in used and ours.mask_token_id in used


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary_and_special_tokens(folder, name):
    ours, theirs = pair(name, folder)
    assert ours.get_vocab() == theirs.get_vocab()
    assert (len(ours), ours.vocab_size, ours.model_max_length) == (len(theirs), theirs.vocab_size, 77)
    assert sorted(ours.all_special_ids) == sorted(theirs.all_special_ids)
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(ours, f"{role}_token_id") == getattr(theirs, f"{role}_token_id")


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_truncation(folder, name):
    ours, theirs = pair(name, folder)
    texts = ["一个红色的圆形", "a " * 200, ""]
    for settings in ({"max_length": 12}, {}):
        mine = ours(texts, padding="max_length", truncation=True, return_tensors="np", **settings)
        reference = theirs(texts, padding="max_length", truncation=True, return_tensors="np", **settings)
        for key in ("input_ids", "attention_mask"):
            np.testing.assert_array_equal(mine[key], reference[key])


@pytest.mark.parametrize("name", NAMES)
def test_decoding(folder, name):
    ours, theirs = pair(name, folder)
    for text in [*TEXTS, *MORE_TEXTS]:
        ids = theirs(text).input_ids
        for skip in (True, False):
            settings = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": False}
            assert ours.decode(ids, **settings) == theirs.decode(ids, **settings), (text, skip)


@pytest.mark.parametrize("name", NAMES)
def test_added_tokens(folder, name, tmp_path):
    made = getattr(transformers, name).from_pretrained(folder)
    made.add_tokens([AddedToken("<cat>", rstrip=True), AddedToken("dog", single_word=True), "<sks>"])
    made.save_pretrained(tmp_path)
    ours, theirs = pair(name, tmp_path)
    assert_ids_equal(ours, theirs, ["a <cat>  b", "dog dogs hotdog dog", "一<sks>个 <sks>", "<mask> <cat>"])


@pytest.mark.parametrize("name", NAMES)
def test_saved_folder_is_loaded_with_both_libraries(folder, name, tmp_path):
    ours = getattr(ours_lib, name).from_pretrained(folder)
    ours.save_pretrained(tmp_path)
    assert_ids_equal(ours, getattr(transformers, name).from_pretrained(tmp_path), [*TEXTS, *MORE_TEXTS])
    assert_ids_equal(getattr(ours_lib, name).from_pretrained(tmp_path), ours, TEXTS)
    assert (tmp_path / "sentencepiece.bpe.model").read_bytes() == xlm_roberta_model()


@pytest.mark.parametrize("name", NAMES)
def test_only_tokenizer_json(fast_folder, name, tmp_path):
    """transformers 5 does not save the SentencePiece model."""
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (alone / file).write_bytes((fast_folder / file).read_bytes())
    ours = getattr(ours_lib, name).from_pretrained(alone)
    theirs = getattr(transformers, name).from_pretrained(fast_folder)
    assert_ids_equal(ours, theirs, [*TEXTS, *MORE_TEXTS])
    ours.save_pretrained(tmp_path / "again")
    assert_ids_equal(ours, getattr(transformers, name).from_pretrained(tmp_path / "again"), [*TEXTS, *MORE_TEXTS])


def test_bad_files(tmp_path, folder):
    with pytest.raises(ConfigError, match="does not contain a XLMRobertaTokenizer"):
        ours_lib.XLMRobertaTokenizer.from_pretrained(tmp_path)
    path = tmp_path / "sentencepiece.bpe.model"
    for damaged in (xlm_roberta_model()[:1000], b"\x0a\xff\xff", b"not a model at all"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="sentencepiece.bpe.model"):
            ours_lib.XLMRobertaTokenizer.from_pretrained(tmp_path)
    path.unlink()
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}', "utf-8")
    with pytest.raises(ConfigError, match="does not contain a unigram model"):
        ours_lib.XLMRobertaTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="vocab_file or tokenizer_file"):
        ours_lib.XLMRobertaTokenizer()


@pytest.mark.parametrize("charsmap", ["AAAA", "////", "A" * 1001, "zzzz" * 300])
def test_a_damaged_table_of_characters(fast_folder, tmp_path, charsmap):
    """The library panics: its error is no Exception."""
    path = tmp_path / "tokenizer.json"
    shutil.copytree(fast_folder, tmp_path, dirs_exist_ok=True)
    content = json.loads(path.read_text("utf-8"))
    found = [part for part in _parts(content["normalizer"]) if part.get("type") == "Precompiled"]
    assert found
    found[0]["precompiled_charsmap"] = charsmap
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ConfigError, match="tokenizer are damaged"):
        tokenizer = ours_lib.XLMRobertaTokenizerFast.from_pretrained(tmp_path)
        tokenizer("\u2460 Ａ")


def _parts(normalizer):
    return [normalizer, *(normalizer.get("normalizers") or ())]


def test_the_unknown_token_is_not_empty(folder):
    for cls in (ours_lib.XLMRobertaTokenizer, ours_lib.XLMRobertaTokenizerFast):
        with pytest.raises(ConfigError, match="unk_token is empty"):
            cls.from_pretrained(folder, unk_token="")
