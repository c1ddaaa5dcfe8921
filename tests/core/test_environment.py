"""Switches and numbers in environment variables: valid values, and errors that name the variable."""

import re
from pathlib import Path

import pytest

from ppdiffusers.core.environment import is_on, read_number
from ppdiffusers.core.errors import InputError
from ppdiffusers.io import download, http_client
from ppdiffusers.runtime import cache

NAME = "PPDIFFUSERS_TEST_NUMBER"
# variable -> (its reader, a valid text, the value)
READERS = {
    "PPDIFFUSERS_TIMEOUT": (http_client.timeout, "2.5", 2.5),
    "PPDIFFUSERS_DOWNLOAD_WORKERS": (download._workers, "3", 3),
    "PPDIFFUSERS_PROGRAM_CACHE_GB": (cache.size_limit, "0.5", 2**29),
}


def read(whole: bool = False) -> float:
    return read_number(NAME, 7, "apples", low=1, high=64, whole=whole)


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("On", True), ("yes", True), ("", False), ("0", False), ("no", False)]
)
def test_switches(text, value, monkeypatch):
    monkeypatch.setenv(NAME, text)
    assert is_on(NAME) is value


def test_an_unset_switch_is_off(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)
    assert is_on(NAME) is False


@pytest.mark.parametrize("text", [None, "", "  "])
def test_unset_or_empty_is_the_default(text, monkeypatch):
    monkeypatch.delenv(NAME, raising=False)
    if text is not None:
        monkeypatch.setenv(NAME, text)
    assert read() == 7


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("64", 64), (" 2.5 ", 2.5), ("1e1", 10)])
def test_numbers_up_to_both_limits(text, value, monkeypatch):
    monkeypatch.setenv(NAME, text)
    assert read() == value


@pytest.mark.parametrize("text", ["much", "1,5", "0x10", "-3", "0", "65", "inf", "-inf", "nan", "1e999", "9" * 400])
def test_invalid_numbers_are_errors(text, monkeypatch):
    monkeypatch.setenv(NAME, text)
    with pytest.raises(InputError, match=rf"(?s){NAME} is '{re.escape(text)}'.*a number of apples from 1 to 64.*unset"):
        read()


def test_a_fraction_is_an_error_where_an_integer_is_required(monkeypatch):
    monkeypatch.setenv(NAME, "8")
    assert read(whole=True) == 8
    monkeypatch.setenv(NAME, "2.5")
    with pytest.raises(InputError, match=rf"(?s){NAME} is '2.5'.*a whole number of apples from 1 to 64"):
        read(whole=True)


@pytest.mark.parametrize("name", READERS)
def test_readers_of_numbers(name, monkeypatch):
    """They return valid values, use one default, and raise errors that name the variable."""
    reader, text, value = READERS[name]
    monkeypatch.setenv(name, text)
    assert reader() == value
    monkeypatch.setenv(name, "")
    default = reader()
    monkeypatch.delenv(name)
    assert reader() == default > 0
    for nonsense in ("much", "-1", "inf", "nan", "1e999"):
        monkeypatch.setenv(name, nonsense)
        with pytest.raises(InputError, match=f"{name} is '{nonsense}'"):
            reader()


@pytest.mark.parametrize("page", ["loading.md", "loading_zh.md"])
@pytest.mark.parametrize("name", READERS)
def test_the_documented_default_is_the_default(name, page, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    (documented,) = re.findall(rf"^\| `{name}` \|.*\| (\S+) \|$", text, re.MULTILINE)
    reader, _, _ = READERS[name]
    monkeypatch.delenv(name, raising=False)
    default = reader()
    monkeypatch.setenv(name, documented)
    assert reader() == default
