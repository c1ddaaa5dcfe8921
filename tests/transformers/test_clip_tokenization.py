"""CLIP's tokenizers against transformers', for thousands of unusual texts."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import paddle
import pytest
import transformers

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.transformers import CLIPTokenizer, CLIPTokenizerFast
from ppdiffusers.transformers.clip import tokenization
from tests.support.checkpoints import byte_alphabet, tiny_tokenizer

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


# Parts of unusual texts: letters with special case folding (long s, Kelvin sign), letters of recent Unicode versions.
PIECES = ["'S", "'ſ", "’re", "K", " ", "  ", "<|endoftext|>", "<|ENDOFTEXT|>", "<|ſtartoftext|>", "!", "<Cat-Toy>",
          "<cat-toy>", "<ls>", " <ls> ", "&lt;", "Ã©", "𰻝𰻝面", "aab", "İ", "\u0345"]  # fmt: skip
PLANES = [(0, 0x2FF), (0x300, 0x36F), (0x370, 0x10FF), (0x1100, 0x2BFF), (0x3000, 0x9FFF), (0xA000, 0xD7FF),
          (0xE000, 0xFFFF), (0x10000, 0x1FFFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF), (32, 126)]  # fmt: skip


def texts_of_all_unicode(count=700):
    rng = random.Random(1)
    for _ in range(count):
        parts = [
            rng.choice(PIECES) if rng.random() < 0.5 else chr(rng.randint(*rng.choice(PLANES)))
            for _ in range(rng.randrange(1, 16))
        ]
        yield "".join(parts)


def assert_same_tokenizer(ours, theirs):
    assert len(ours) == len(theirs)
    for text in texts_of_all_unicode():
        expected = theirs(text).input_ids
        assert ours(text).input_ids == expected, ascii(text)
        for skip in (False, True):
            assert ours.decode(expected, skip_special_tokens=skip) == theirs.decode(expected, skip_special_tokens=skip)


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
@pytest.mark.parametrize("name", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_added_tokens(tmp_path, name, pad):
    """Tokens that are added after loading, and tokens with each flag in the files of each format."""
    cls, theirs_cls = getattr(ours_lib, name), getattr(transformers, name)
    plain = tiny_tokenizer(tmp_path / "made", pad)
    plain.save_pretrained(tmp_path / "plain")
    ours, theirs = cls.from_pretrained(tmp_path / "plain"), theirs_cls.from_pretrained(tmp_path / "plain")
    assert ours.add_tokens(["<Cat-Toy>", "aa"]) == theirs.add_tokens(["<Cat-Toy>", "aa"]) == 2
    assert_same_tokenizer(ours, theirs)
    plain.add_tokens([transformers.AddedToken("<ls>", lstrip=True, rstrip=True)], special_tokens=True)
    plain.add_tokens([transformers.AddedToken("aab", single_word=True)])
    plain.save_pretrained(tmp_path / "flags")
    transformers.CLIPTokenizerFast.from_pretrained(tmp_path / "flags").save_pretrained(tmp_path / "fast")
    for folder in ("flags", "fast"):
        ours = cls.from_pretrained(tmp_path / folder)
        assert_same_tokenizer(ours, theirs_cls.from_pretrained(tmp_path / folder))
    ours.save_pretrained(tmp_path / "ours")
    assert_same_tokenizer(ours, theirs_cls.from_pretrained(tmp_path / "ours"))


@pytest.mark.parametrize("name", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_legacy_files(tmp_path, name):
    """Without `added_tokens_decoder`: special_tokens_map.json (pad token "!" of SD 2) and added_tokens.json apply."""
    tiny_tokenizer(tmp_path / "made").save_pretrained(tmp_path)
    count = len(json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")))
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = {"content": "<|startoftext|>", **flags}, {"content": "<|endoftext|>", **flags}
    specials = {"bos_token": start, "eos_token": end, "unk_token": end}
    config = {name: {**token, "__type": "AddedToken"} for name, token in specials.items()}
    config = {**config, "pad_token": "<|endoftext|>", "model_max_length": 9, "tokenizer_class": "CLIPTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({**specials, "pad_token": "!"}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<Cat-Toy>": count}))
    ours, theirs = (
        getattr(ours_lib, name).from_pretrained(tmp_path),
        getattr(transformers, name).from_pretrained(tmp_path),
    )
    assert (ours.pad_token, ours.model_max_length) == (theirs.pad_token, theirs.model_max_length) == ("!", 9)
    assert_same_tokenizer(ours, theirs)


@pytest.mark.parametrize("name", ["CLIPTokenizer", "CLIPTokenizerFast"])
@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 5},
        {"max_length": 40, "padding": "max_length", "truncation": "do_not_truncate"},
        {"padding": "do_not_pad", "truncation": "longest_first", "max_length": 6},
        {"padding": "longest", "max_length": 4, "return_attention_mask": False},
    ],
)
def test_padding_and_truncation_strategies(folder, name, options):
    for side in ("right", "left"):
        sides = {"padding_side": side, "truncation_side": side}
        ours = getattr(ours_lib, name).from_pretrained(folder, **sides)
        theirs = getattr(transformers, name).from_pretrained(folder, **sides)
        for text in (TEXTS[0], TEXTS[:3]):
            assert dict(ours(text, **options)) == dict(theirs(text, **options))


def test_bad_arguments(folder):
    ours = CLIPTokenizer.from_pretrained(folder)
    for options, named in (
        ({"padding": "max"}, "padding='max'"),
        ({"truncation": "middle"}, "truncation='middle'"),
        ({"return_overflowing_tokens": True}, "return_overflowing_tokens=True"),
        ({"max_length": 1, "truncation": True}, "less than the number of special tokens"),
    ):
        with pytest.raises(InputError, match=named):
            ours("a cat", **options)
    assert ours("a cat", return_overflowing_tokens=False).input_ids == ours("a cat").input_ids
    with pytest.raises(InputError, match="no id 99999"):
        ours.convert_ids_to_tokens(99999)
    with pytest.raises(ConfigError, match="side 'top'"):
        CLIPTokenizer.from_pretrained(folder, padding_side="top")


def test_saved_folders_load_with_both_libraries(folder, tmp_path):
    ours = CLIPTokenizer.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path / "ours")
    again = CLIPTokenizer.from_pretrained(tmp_path / "ours")
    for text in TEXTS:
        assert theirs(text).input_ids == ours(text).input_ids == again(text).input_ids


def test_tokenizer_json_alone(folder, tmp_path):
    """transformers 5 saves no other vocabulary file."""
    transformers.CLIPTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path / "fast")
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (tmp_path / "fast" / name).unlink()
    ours = CLIPTokenizer.from_pretrained(tmp_path / "fast")
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids


def test_pad_token_of_sd2(tmp_path):
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


def test_vocabulary_of_openai_ships_with_the_package(tmp_path):
    """Its ids are those of transformers with the same merges, and the special tokens have their well-known ids."""
    merges = gzip.decompress((Path(tokenization.__file__).parent / "merges.txt.gz").read_bytes()).decode()
    letters = list(byte_alphabet().values())
    pairs = merges.splitlines()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(pair.replace(" ", "") for pair in pairs)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + merges)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    ours, ours_fast = CLIPTokenizer.openai(), CLIPTokenizerFast.openai(pad_token="!")
    assert (len(ours), ours.bos_token_id, ours.eos_token_id) == (49408, 49406, 49407)
    assert ours.encoder == theirs.get_vocab()
    assert (ours_fast.pad_token_id, ours.pad_token_id) == (0, 49407)
    text = "A photograph of an astronaut's horse, 4k! 一只骑着马的宇航员 \U0001f40e"
    assert ours(text).input_ids == theirs(text).input_ids
    assert ours("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]  # as published
    ours.save_pretrained(tmp_path / "saved")
    assert transformers.CLIPTokenizer.from_pretrained(tmp_path / "saved")(text).input_ids == theirs(text).input_ids
