"""The text front end of Grad-TTS against recorded ids of the original (tests/data/grad_tts)."""

import numpy as np
import pytest

from ppdiffusers.core.errors import ConfigError, InputError, MissingDependencyError
from ppdiffusers.pipelines.grad_tts.cleaners import clean_english
from ppdiffusers.pipelines.grad_tts.cmu_dictionary import CMUDictionary
from ppdiffusers.pipelines.grad_tts.numbers import cardinal, ordinal
from ppdiffusers.pipelines.grad_tts.symbols import SYMBOLS, text_to_ids, with_blanks
from tests.support import grad_tts


@pytest.fixture(scope="module")
def dictionary():
    return CMUDictionary.from_file(grad_tts.DICTIONARY)


@pytest.mark.parametrize("case", grad_tts.FRONTEND, ids=lambda case: case["text"][:20])
def test_ids(dictionary, case):
    assert text_to_ids(case["text"], dictionary)[0] == case["ids"]
    assert text_to_ids(case["text"])[0] == case["ids_without_dictionary"]


def test_recorded_ids_with_blanks(dictionary):
    recorded = grad_tts.recorded()
    texts = ["The cat sat on the mat.", "Hello world, Dr. Smith paid $3.50 for 21 eggs in 1999!", "Here {HH AW1 S} is."]
    for n, text in enumerate(texts):
        np.testing.assert_array_equal(with_blanks(text_to_ids(text, dictionary)[0]), recorded[f"frontend/ids/{n}"])
        np.testing.assert_array_equal(text_to_ids(text)[0], recorded[f"frontend/ids_nodict/{n}"])


def test_symbols():
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 148
    assert SYMBOLS[:12] == ("_", "-", "!", "'", "(", ")", ",", ".", ":", ";", "?", " ") and SYMBOLS[64] == "@AA"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("£5 and £1,000", "five pounds and one thousand pounds"),  # the original reads "PS" for the sign
        ("$,5", "five dollars"),  # the original raises
        (str(10**36), "one " + " ".join(["zero"] * 36)),  # the original raises
        ("TAB\tand\n\nlines", "tab and lines"),
    ],
)
def test_texts_that_the_original_cannot_read(text, expected):
    assert clean_english(text) == expected


def test_numbers():
    assert cardinal(1001) == "one thousand one" and cardinal(1100) == "one thousand, one hundred"
    assert ordinal(1234) == "one thousand, two hundred and thirty-fourth" and ordinal(20) == "twentieth"


def test_characters_that_are_left_out():
    assert text_to_ids("50% of #1 @home_")[1] == ["#", "%", "@", "_"]


def test_other_scripts_need_a_package():
    with pytest.raises(MissingDependencyError, match="unidecode"):
        clean_english("你好")


def test_unknown_phonemes():
    with pytest.raises(InputError, match="AA9, QQ"):
        text_to_ids("{QQ AA9 AA1}")


def test_pronunciations(dictionary, tmp_path):
    assert len(dictionary) == 6 and dictionary.lookup("cat") == ("K", "AE1", "T") and dictionary.lookup("dog") is None
    file = tmp_path / "dictionary"
    file.write_bytes(
        b";;; a comment\n!EXCLAMATION  EH2\nREAD  R EH1 D\r\nREAD(1)  R IY1 D\n"
        b"HAWAII  HH AI1\nD\xc9J\xc0  D EY2\n'S  Z\n"
    )
    read = CMUDictionary.from_file(file)
    assert read.entries == {"READ": ("R", "EH1", "D"), "DÉJÀ": ("D", "EY2"), "'S": ("Z",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"CAT  K AE1 T\nDO", "line 2 has no pronunciation: 'DO'"),
        (b"CAT  K AE1 T\nDOG  D A", "ends within a phoneme: 'DOG  D A'"),
        (b"", "it has no entry"),
        (b"cat k ae t\n", "it has no entry"),
        (b"CAT K AE1 T\n", "line 1 has no pronunciation"),
    ],
)
def test_files_that_are_no_dictionary(tmp_path, content, message):
    file = tmp_path / "dictionary"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="two spaces") as raised:
        CMUDictionary.from_file(file)
    assert message in str(raised.value) and str(file) in str(raised.value)


def test_missing_dictionary(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        CMUDictionary.from_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="folder"):
        CMUDictionary.from_file(tmp_path)
