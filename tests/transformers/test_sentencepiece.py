"""SentencePiece models and the base of their tokenizers, against `sentencepiece` and transformers' T5Tokenizer."""

import random
import threading

import numpy as np
import pytest
import sentencepiece
import transformers

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.transformers.sentencepiece_model import PieceType, SentencePieceModel
from ppdiffusers.transformers.sentencepiece_tokenizer import SentencePieceTokenizer
from tests.support.sentencepiece_models import t5_model, train, xlm_roberta_model
from tests.transformers.test_clip_tokenization import TEXTS, random_texts
from tests.transformers.test_xlm_roberta_tokenization import MORE_TEXTS

SEGMENTS = ["</s>", " </s>", "</s> ", "<pad>", "<unk>", "a", "red", " red", "  ", "circle", "▁", " ▁a", "猫", "\n"]


class T5Like(SentencePieceTokenizer):
    """Special tokens and files of T5's tokenizer."""

    special_names = ("eos_token", "unk_token", "pad_token")
    first_token, last_token = None, "eos_token"
    vocabulary_files = ({"vocab_file": "spiece.model"},)

    def __init__(self, vocab_file, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", **settings):
        specials = {"eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        super().__init__(SentencePieceModel.read(vocab_file), specials, **settings)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("t5") / "spiece.model"
    path.write_bytes(t5_model())
    return path


def texts_with_special_tokens(count=500):
    rng = random.Random(0)
    return ["".join(rng.choice(SEGMENTS) for _ in range(rng.randrange(1, 7))) for _ in range(count)]


def test_ids_of_sentencepiece(model_file):
    ours, theirs = T5Like(model_file), sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    assert [ours.pad_token_id, ours.eos_token_id, ours.unk_token_id] == [0, 1, 2]
    assert ours.vocab_size == len(ours) == theirs.get_piece_size()
    for text in [*TEXTS, *random_texts(300)]:
        if not any(token in text for token in ("<", "＜")):
            assert ours(text).input_ids == [*theirs.encode(text), 1], ascii(text)


@pytest.mark.parametrize("legacy", [True, False])
def test_ids_of_t5(model_file, legacy):
    ours = T5Like(model_file, legacy=legacy)
    theirs = transformers.T5Tokenizer(str(model_file), legacy=legacy, extra_ids=0)
    for text in [*TEXTS, *MORE_TEXTS, *random_texts(500)]:
        assert ours(text).input_ids == theirs(text).input_ids, ascii(text)
    for text in texts_with_special_tokens():
        mine, expected = (tokenizer(text, add_special_tokens=False).input_ids for tokenizer in (ours, theirs))
        assert mine == expected, ascii(text)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_byte_fallback_and_user_defined_pieces(tmp_path, model_type):
    """Types of pieces that only the library interprets."""
    path = tmp_path / "spiece.model"
    special_ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    settings = {"byte_fallback": True, "user_defined_symbols": ["<cat>"], "character_coverage": 0.98}
    path.write_bytes(train(model_type=model_type, vocab_size=500, **settings, **special_ids))
    ours, theirs = T5Like(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in [*TEXTS[:6], "a <cat>sat", "𰻝"]:
        assert ours(text).input_ids == [*theirs.encode(text), 1]
        assert ours.decode(theirs.encode(text), skip_special_tokens=True) == theirs.decode(theirs.encode(text))
    assert ours.model.is_unigram == (model_type == "unigram")


def test_padding_and_truncation_with_one_special_token(model_file):
    ours, theirs = T5Like(model_file), transformers.T5Tokenizer(str(model_file), extra_ids=0)
    texts = ["a red circle", "a " * 50, ""]
    for settings in ({"max_length": 7}, {"max_length": 3}, {"max_length": 60}):
        mine = ours(texts, padding="max_length", truncation=True, return_tensors="np", **settings)
        expected = theirs(texts, padding="max_length", truncation=True, return_tensors="np", **settings)
        for key in ("input_ids", "attention_mask"):
            np.testing.assert_array_equal(mine[key], expected[key])


def test_folders_are_loaded_with_both_libraries(model_file, tmp_path):
    theirs = transformers.T5Tokenizer(str(model_file), legacy=True)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = T5Like.from_pretrained(tmp_path / "theirs")
    assert len(ours) == len(theirs)
    assert ours("a <extra_id_3> circle").input_ids == theirs("a <extra_id_3> circle").input_ids
    ours.save_pretrained(tmp_path / "ours")
    assert (tmp_path / "ours" / "spiece.model").read_bytes() == t5_model()
    again = transformers.T5Tokenizer.from_pretrained(tmp_path / "ours", legacy=True)
    assert again("a <extra_id_3> circle").input_ids == theirs("a <extra_id_3> circle").input_ids
    ids = theirs("A red circle.").input_ids
    assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)


def test_model_from_pieces():
    processor = sentencepiece.SentencePieceProcessor(model_proto=xlm_roberta_model())
    pieces = [(processor.id_to_piece(n), processor.get_score(n)) for n in range(processor.get_piece_size())]
    types = [PieceType.UNKNOWN, PieceType.CONTROL, PieceType.CONTROL] + [PieceType.NORMAL] * (len(pieces) - 3)
    model = SentencePieceModel.from_pieces((*piece, kind) for piece, kind in zip(pieces, types, strict=True))
    again = sentencepiece.SentencePieceProcessor(model_proto=model.data)
    assert [(again.id_to_piece(n), again.get_score(n)) for n in range(again.get_piece_size())] == pieces
    assert again.is_unknown(0) and again.is_control(1) and again.is_control(2) and not again.is_control(3)
    assert (model.pieces, model.scores) == tuple(zip(*pieces))
    for text in ("a red  circle", "白色背景"):
        assert again.encode(text, out_type=str) == processor.encode(text, out_type=str)


def test_normalization_rules_are_kept():
    """A model that is created from the pieces and rules of another one normalizes like it."""
    original = SentencePieceModel(xlm_roberta_model())
    assert len(original.precompiled_charsmap) > 1000
    types = map(original.type_of, range(len(original.pieces)))
    pieces = zip(original.pieces, original.scores, types, strict=True)
    copy = SentencePieceModel.from_pieces(pieces, original.precompiled_charsmap)
    for text in [*TEXTS, *MORE_TEXTS]:
        assert copy.encode(text) == original.encode(text)
    assert original.encode("a red")[0] == "▁a" and original.without_dummy_prefix().encode("a red")[0] == "a"


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "first half", "zeros", "no unknown piece"])
def test_damaged_models(tmp_path, damage):
    data = xlm_roberta_model()
    damaged = {
        "empty": b"",
        "text": b"not a model at all",
        "truncated": data[:-5],
        "first half": data[: len(data) // 2],
        "zeros": bytes(1000),
        "no unknown piece": b"\x0a\x03\x0a\x01a",
    }
    path = tmp_path / "spiece.model"
    path.write_bytes(damaged[damage])
    with pytest.raises(ConfigError, match=r"not a SentencePiece model(.|\n)*where: .*spiece\.model(.|\n)*  - "):
        SentencePieceModel.read(path)


def test_lone_surrogates():
    model = SentencePieceModel(t5_model())
    assert model.encode("a\udc80 red") == model.encode("a? red")


def test_threads(model_file):
    tokenizer = T5Like(model_file)
    expected = [tokenizer(text).input_ids for text in TEXTS]
    results = []

    def tokenize():
        results.append([[tokenizer(text).input_ids for text in TEXTS] for _ in range(20)])

    threads = [threading.Thread(target=tokenize) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(row == expected for result in results for row in result)
