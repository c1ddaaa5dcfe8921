"""Small files: judged before they are read; JSON that would cost time or memory is refused."""

import gzip
import json
import os
import time

import pytest

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_bytes, read_json, read_text

TEXTS = {
    "nested until the recursion ends": "[" * 100_000 + "]" * 100_000,
    "objects nested until the recursion ends": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "nested 40 levels": '{"a":' + "[" * 40 + "]" * 40 + "}",
    "an integer of 5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "an integer of 100 digits": '{"a": ' + "9" * 100 + "}",
    "1e999": '{"a": 1e999}',
    "NaN": '{"a": NaN}',
    "truncated": '{"a": 1',
    "a list": "[1, 2]",
    "a number": "1",
    "empty": "",
}


@pytest.mark.parametrize("case", TEXTS)
def test_hostile_json_is_our_error(tmp_path, case):
    path = tmp_path / "config.json"
    path.write_text(TEXTS[case])
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"config\.json") as error:
        read_json(path)
    assert time.process_time() - started < 5
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("encoding", ["utf-16", "latin1"])
def test_other_encodings_are_our_error(tmp_path, encoding):
    path = tmp_path / "config.json"
    path.write_bytes('{"a": "é"}'.encode(encoding))
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_json(path)


def make(path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "named pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to itself": path.name, "link to a device": "/dev/zero", "dangling link": "no"}[kind])


@pytest.mark.parametrize("kind", ["folder", "named pipe", "link to itself", "link to a device", "dangling link"])
def test_other_things_than_files_are_not_read(tmp_path, kind):
    path = tmp_path / "config.json"
    make(path, kind)
    for read in (read_bytes, read_text, read_json):
        with pytest.raises(ConfigError, match=r"config\.json"):
            read(path)


def test_large_files_are_not_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)  # a sparse file
    with pytest.raises(ConfigError, match="more than 67108864 bytes"):
        read_json(path)
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        read_bytes(path, 10)


def test_compressed_text_is_limited(tmp_path):
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress("a b\r\né c\n".encode()))
    assert read_text(path) == "a b\né c\n"
    path.write_bytes(gzip.compress(b"\0" * 10**6))
    with pytest.raises(ConfigError, match="more than 100000 bytes inside"):
        read_text(path, 100_000)
    path.write_bytes(gzip.compress(b"text")[:-6])
    with pytest.raises(ConfigError, match="damaged"):
        read_text(path)


def test_what_published_files_have(tmp_path, caplog):
    path = tmp_path / "config.json"
    path.write_text(
        '{"lambda_min_clipped": -Infinity, "model_max_length": 1000000000000000019884624838656, "a": 1, "a": 2}'
    )
    read = read_json(path)
    assert read == {"lambda_min_clipped": -float("inf"), "model_max_length": int(1e30), "a": 2}
    assert "more than once" in caplog.text and "'a'" in caplog.text
    vocabulary = {"model": {"vocab": [["piece", -1.5]] * 250_000}}
    path.write_text(json.dumps(vocabulary))
    started = time.process_time()
    assert read_json(path) == vocabulary
    assert time.process_time() - started < 5
