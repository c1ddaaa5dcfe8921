"""Output of commands: language, sizes, columns."""

from __future__ import annotations

import io

import pytest

from ppdiffusers.cli.printing import columns, human_size, localized

VARIABLES = ("PPDIFFUSERS_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "你好"),
        ({"LANG": "zh_TW"}, "你好"),
        ({"LANG": "de_DE.UTF-8"}, "hello"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "hello"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "你好"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "", "PPDIFFUSERS_LANG": "zh"}, "你好"),
        ({"LANG": "zh_CN.UTF-8", "PPDIFFUSERS_LANG": "en"}, "hello"),
    ],
)
def test_the_language_follows_the_locale(environment, expected, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert localized("hello", "你好") == expected


@pytest.mark.parametrize(
    "system, expected", [("zh_CN", "你好"), ("Chinese (Simplified)_China", "你好"), (None, "hello")]
)
def test_without_variables_the_language_follows_the_system(system, expected, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("locale.getlocale", lambda: (system, "UTF-8"))
    assert localized("hello", "你好") == expected


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "你好"), ("gbk", "你好"), ("ascii", "hello")])
def test_no_chinese_if_the_output_cannot_encode_it(encoding, expected, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_LANG", "zh")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert localized("hello", "你好") == expected


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "?"), (0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (4_265_000_000, "4.3 GB"), (12e15, "12000.0 TB")],
)
def test_sizes(count, text):
    assert human_size(count) == text


def test_columns_are_aligned_with_wide_characters():
    text = columns([("名称", "大小"), ("unet", "7 B"), ("编码器", "12 KB")], right=(1,))
    assert text.splitlines() == ["名称     大小", "unet      7 B", "编码器  12 KB"]
