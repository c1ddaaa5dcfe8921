"""Token ids equal transformers', for thousands of odd texts."""

import random

import numpy as np
import paddle
import pytest
import transformers

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.transformers import CLIPTokenizer, CLIPTokenizerFast
from tests.support.checkpoints import tiny_tokenizer

TEXTS = [
    "a red circle on a white background",
    "一个红色的圆形，白色背景",
    "你好！！，。；：“”‘’《》【】—…",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ❤️",
    "it's we'll I'd they've 'S 'RE O'Neil's",
    "  spaces\t\ttabs\nnew\r\nlines  ",
    "",
    " ",
    "ＦＵＬＬ　ＷＩＤＴＨ １２３，．！",
    "café naïve Ångström ﬁ ﬂ Ǆ ß ſ K",
    "e\u0301 combining a\u0308\u0323 \u200b\u200d\ufeff",
    "1234567890 ½ ² Ⅷ ٣",
    "<|startoftext|>inside<|endoftext|> and <|STARTOFTEXT|> more",
    "!!<|endoftext|>!!",
    "schÃ¶n broken utf-8 â€™ text &amp; &lt;tag&gt;",
    "日本語のテキスト 한국어 العربية हिन्दी ไทย",
    "\x00\x01\x7f control",
    "x" * 300,
    "a_b-c+d=e#f@g$h%i^j&k*l(m)n",
]


def random_texts(count=1500):
    rng = random.Random(0)
    ranges = [(32, 126), (0xA0, 0x24F), (0x300, 0x36F), (0x4E00, 0x4FFF), (0x3000, 0x30FF), (0xFF01, 0xFF5E),
              (0x1F600, 0x1F64F), (0x2010, 0x2040), (0x600, 0x6FF), (0x9, 0xD)]  # fmt: skip
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 12)):
            low, high = rng.choice(ranges)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 6))))
        yield rng.choice(["", " "]).join(parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(path / "made", "<|endoftext|>").save_pretrained(path / "saved")
    return path / "saved"


@pytest.mark.parametrize("name", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_ids_equal(folder, name):
    ours = {"CLIPTokenizer": CLIPTokenizer, "CLIPTokenizerFast": CLIPTokenizerFast}[name].from_pretrained(folder)
    theirs = getattr(transformers, name).from_pretrained(folder)
    wrong = []
    for text in [*TEXTS, *random_texts()]:
        mine, expected = ours(text).input_ids, theirs(text).input_ids
        if mine != expected:
            wrong.append((text, ours.convert_ids_to_tokens(mine), theirs.convert_ids_to_tokens(expected)))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("name", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_padding_truncation_and_tensors(folder, name):
    ours = {"CLIPTokenizer": CLIPTokenizer, "CLIPTokenizerFast": CLIPTokenizerFast}[name].from_pretrained(folder)
    theirs = getattr(transformers, name).from_pretrained(folder)
    for options in (
        {"padding": "max_length", "max_length": 20, "truncation": True},
        {"padding": "max_length", "truncation": True},
        {"padding": True},
        {"padding": "longest", "truncation": True, "max_length": 6},
        {"add_special_tokens": False, "padding": True},
    ):
        texts = TEXTS[:6]
        mine, expected = ours(texts, return_tensors="np", **options), theirs(texts, return_tensors="np", **options)
        assert np.array_equal(mine.input_ids, expected.input_ids), options
        assert np.array_equal(mine.attention_mask, expected.attention_mask), options
    tensor = ours(TEXTS[:2], padding=True, return_tensors="pd").input_ids
    assert isinstance(tensor, paddle.Tensor) and tensor.dtype == paddle.int64
    with pytest.raises(InputError, match="return_tensors='pt'"):
        ours("a", return_tensors="pt")
    with pytest.raises(InputError, match="different lengths"):
        ours(TEXTS[:2], return_tensors="np")
    with pytest.raises(InputError, match="text 1 is int"):
        ours(["a", 3])


def test_decoding(folder):
    ours, theirs = CLIPTokenizer.from_pretrained(folder), transformers.CLIPTokenizer.from_pretrained(folder)
    for text in TEXTS[:6]:
        ids = theirs(text).input_ids
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
    rows = theirs(TEXTS[:3], padding=True, return_tensors="np").input_ids
    assert ours.batch_decode(rows, skip_special_tokens=True) == theirs.batch_decode(rows, skip_special_tokens=True)


def test_vocabulary(folder):
    ours, theirs = CLIPTokenizer.from_pretrained(folder), transformers.CLIPTokenizer.from_pretrained(folder)
    assert len(ours) == len(theirs) and ours.vocab_size == theirs.vocab_size
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "model_max_length"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.tokenize(TEXTS[0]) == theirs.tokenize(TEXTS[0])
    assert ours.encode(TEXTS[1]) == theirs.encode(TEXTS[1])
    assert ours.get_vocab() == theirs.get_vocab()


def test_added_tokens(folder):
    ours, theirs = CLIPTokenizer.from_pretrained(folder), transformers.CLIPTokenizer.from_pretrained(folder)
    assert ours.add_tokens(["<cat-toy>", "a"]) == 2 - ("a" in theirs.get_vocab())
    theirs.add_tokens(["<cat-toy>"])
    assert len(ours) == len(theirs)
    text = "a photo of <cat-toy>, please"
    assert ours(text).input_ids == theirs(text).input_ids


def test_saved_folders_load_on_both_sides(folder, tmp_path):
    ours = CLIPTokenizer.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path / "ours")
    again = CLIPTokenizer.from_pretrained(tmp_path / "ours")
    for text in TEXTS:
        assert theirs(text).input_ids == ours(text).input_ids == again(text).input_ids


def test_tokenizer_json_alone(folder, tmp_path):
    """What transformers 5 writes."""
    transformers.CLIPTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path / "fast")
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (tmp_path / "fast" / name).unlink()
    ours = CLIPTokenizer.from_pretrained(tmp_path / "fast")
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids


def test_padding_token_of_sd2(tmp_path):
    tiny_tokenizer(tmp_path / "made", "!").save_pretrained(tmp_path / "saved")
    ours = CLIPTokenizer.from_pretrained(tmp_path / "saved")
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path / "saved")
    options = {"padding": "max_length", "max_length": 12, "return_tensors": "np"}
    for text in ("a cat", "wow! a cat!!", "!"):
        assert np.array_equal(ours(text, **options).input_ids, theirs(text, **options).input_ids)


def test_missing_and_damaged_files(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="vocab.json and merges.txt"):
        CLIPTokenizer.from_pretrained(tmp_path / "empty")
    (tmp_path / "vocab.json").write_text('{"a": 0')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(ConfigError, match="not readable JSON"):
        CLIPTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(ConfigError, match="3 parts"):
        CLIPTokenizer.from_pretrained(tmp_path)
