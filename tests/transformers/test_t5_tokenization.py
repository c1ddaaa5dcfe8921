"""T5's tokenizers against transformers'."""

import numpy as np
import pytest
import transformers

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError
from tests.support.sentencepiece_models import T5_IDS, t5_model, train
from tests.support.t5 import tiny_t5_tokenizer
from tests.transformers.test_clip_tokenization import TEXTS, random_texts
from tests.transformers.test_xlm_roberta_tokenization import MORE_TEXTS

NAMES = ["T5Tokenizer", "T5TokenizerFast"]
SENTINELS = [
    "a <extra_id_0> cat <extra_id_99>.", "<extra_id_1>", "x<extra_id_2>y", "  <extra_id_3>  <extra_id_4>  z",
    "a </s>", "</s></s>", "<pad> a <unk> b", "<extra_id_100>", "<extra_id_5> </s>", "<extra_id_0>a red",
]  # fmt: skip
ALL_TEXTS = [*TEXTS, *MORE_TEXTS, *SENTINELS, *random_texts(200)]


@pytest.fixture(scope="module", params=[True, False], ids=["legacy", "not legacy"])
def folder(request, tmp_path_factory):
    """A folder of a slow tokenizer that transformers saved."""
    path = tmp_path_factory.mktemp("t5")
    tiny_t5_tokenizer(path / "made", legacy=request.param).save_pretrained(path / "saved")
    return path / "saved"


def assert_same(ours, theirs, texts=ALL_TEXTS):
    """Equal ids, and equal texts of these ids."""
    for text in texts:
        ids = theirs(text).input_ids
        assert ours(text).input_ids == ids, ascii(text)
        for skip in (True, False):
            settings = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": False}
            assert ours.decode(ids, **settings) == theirs.decode(ids, **settings), (ascii(text), skip)
    assert ours.get_vocab() == theirs.get_vocab()
    assert (len(ours), ours.vocab_size, ours.model_max_length) == (len(theirs), theirs.vocab_size, 77)
    assert sorted(ours.all_special_ids) == sorted(theirs.all_special_ids)
    sentinels = {token for token in theirs.get_sentinel_tokens() if "<extra_id_" in token}  # theirs has others, too
    assert {*ours.get_sentinel_tokens()} == sentinels
    assert {*ours.get_sentinel_token_ids()} == {*theirs.convert_tokens_to_ids([*sentinels])}


@pytest.mark.parametrize("name", NAMES)
def test_folders_of_both_libraries(folder, name, tmp_path):
    ours, theirs = (getattr(lib, name).from_pretrained(folder) for lib in (ours_lib, transformers))
    assert_same(ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    assert_same(ours, getattr(transformers, name).from_pretrained(tmp_path / "ours"), SENTINELS)
    theirs.save_pretrained(tmp_path / "theirs")
    assert_same(getattr(ours_lib, name).from_pretrained(tmp_path / "theirs"), theirs, SENTINELS)
    assert (tmp_path / "ours" / "spiece.model").read_bytes() == t5_model()


@pytest.mark.parametrize("extra_ids", [0, 7])
@pytest.mark.parametrize("name", NAMES)
def test_number_of_sentinel_tokens(name, extra_ids, tmp_path):
    """mT5's tokenizers have none: `extra_ids` is 0."""
    tiny_t5_tokenizer(tmp_path / "made", extra_ids=extra_ids).save_pretrained(tmp_path / "saved")
    ours, theirs = (getattr(lib, name).from_pretrained(tmp_path / "saved") for lib in (ours_lib, transformers))
    assert len(ours.get_sentinel_tokens()) == extra_ids
    assert_same(ours, theirs, SENTINELS)


def test_settings_of_the_constructor(tmp_path):
    tiny_t5_tokenizer(tmp_path)
    path = tmp_path / "spiece.model"
    for settings in ({"additional_special_tokens": ("<a>", "<b>")}, {"legacy": False, "add_prefix_space": False}):
        given = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
        theirs = transformers.T5Tokenizer(str(path), model_max_length=77, **given)
        assert_same(ours_lib.MT5Tokenizer(path, model_max_length=77, **settings), theirs, [*SENTINELS, "<a> b<b>", "a"])


@pytest.mark.parametrize("name", NAMES)
def test_only_tokenizer_json(folder, name, tmp_path):
    """transformers 5 does not save the SentencePiece model."""
    reference = getattr(transformers, name).from_pretrained(folder)
    transformers.T5TokenizerFast.from_pretrained(folder).save_pretrained(tmp_path)
    (tmp_path / "spiece.model").unlink()
    ours = getattr(ours_lib, name).from_pretrained(tmp_path)
    assert_same(ours, reference, [*TEXTS, *MORE_TEXTS, *SENTINELS])
    ours.save_pretrained(tmp_path / "again")
    assert_same(ours, getattr(transformers, name).from_pretrained(tmp_path / "again"), SENTINELS)


def test_padding_and_truncation(folder):
    ours, theirs = (lib.T5Tokenizer.from_pretrained(folder) for lib in (ours_lib, transformers))
    texts = ["a red circle", "a " * 100, "", "a </s>", "a " * 7 + "</s>"]
    for settings in ({}, {"max_length": 9}, {"max_length": 2}):
        mine = ours(texts, padding="max_length", truncation=True, return_tensors="np", **settings)
        expected = theirs(texts, padding="max_length", truncation=True, return_tensors="np", **settings)
        for key in ("input_ids", "attention_mask"):
            np.testing.assert_array_equal(mine[key], expected[key])


def test_user_defined_pieces(tmp_path):
    model = train(**T5_IDS, user_defined_symbols=["<cat>"])
    (tmp_path / "spiece.model").write_bytes(model)
    for name in NAMES:
        theirs = getattr(transformers, name)(str(tmp_path / "spiece.model"), add_prefix_space=True)
        ours = getattr(ours_lib, name)(tmp_path / "spiece.model", add_prefix_space=True)
        for text in ("a <cat>sat", "<cat>", "a<cat> b <extra_id_3>"):
            assert ours(text).input_ids == theirs(text).input_ids, (name, text)


def test_bad_files(tmp_path):
    with pytest.raises(ConfigError, match="does not contain a T5Tokenizer"):
        ours_lib.T5Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="vocab_file or tokenizer_file"):
        ours_lib.T5TokenizerFast()
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}', "utf-8")
    with pytest.raises(ConfigError, match="unigram model of T5"):
        ours_lib.T5Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "spiece.model").write_bytes(t5_model()[:1000])
    with pytest.raises(ConfigError, match="spiece.model"):
        ours_lib.T5Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "spiece.model").write_bytes(t5_model())
    with pytest.raises(ConfigError, match="2 sentinel tokens, and extra_ids is 100"):
        ours_lib.T5Tokenizer(
            tmp_path / "spiece.model", additional_special_tokens=["<extra_id_0>", "<extra_id_1>", "<a>"]
        )
