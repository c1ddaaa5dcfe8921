"""Responses of hubs with values of wrong types in each place: our error about this hub, or the model, never another."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from ppdiffusers.core.errors import SourceError, UnsafeFileError
from ppdiffusers.io import http_client
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import find_model

WRONG = [None, [], {}, [None], {"a": 1}, 0, -1, 1.5, 2**70, True, "", "text", "../../x", "\ud800", "a\nb", "a" * 5000]
OURS = (SourceError, UnsafeFileError)


def mutations(value: Any) -> Iterator[Any]:
    """Yield copies of a JSON value in which one place has another value, or is missing; of a list, the first two."""
    yield from WRONG
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: changed} for changed in mutations(value[key]))
    elif isinstance(value, list):
        for n in range(min(2, len(value))):
            yield from ([*value[:n], changed, *value[n + 1 :]] for changed in mutations(value[n]))


def answer(answers: dict[str, bytes], url: str) -> bytes:
    if url not in answers:
        raise FetchError("The file is missing.", where=url, status=404)
    return answers[url]


@pytest.mark.parametrize("source", ["hf", "modelscope", "aistudio"])
def test_values_of_wrong_types(source, hub_of, folder, monkeypatch):
    hub_of(source, folder)
    read, bodies = HttpClient.read, {}

    def recorded(self, url, *arguments):
        return bodies.setdefault(url, read(self, url, *arguments))

    options, required = HubOptions(source=source), PipelineFiles()
    with monkeypatch.context() as patch:
        patch.setattr(HttpClient, "read", recorded)
        find_model("acme/tiny", None, required, options)
    first = next(iter(bodies))  # the list of the files, or the description of the first one
    outcomes = set()
    for changed in mutations(json.loads(bodies[first])):
        answers = {**bodies, first: json.dumps(copy.deepcopy(changed)).encode()}
        with monkeypatch.context() as patch:
            patch.setattr(HttpClient, "read", lambda self, url, *arguments, answers=answers: answer(answers, url))
            with suppress(*OURS):
                find_model("acme/tiny", None, required, options)
                outcomes.add("found")
                continue
        outcomes.add("refused")
    assert outcomes == {"found", "refused"}


HEADERS = [
    *({"Content-Length": value} for value in ("-1", "x", "9" * 5000, "1.5", "", "²")),
    *({"ETag": value} for value in ("", '"', '"zz"', "W/", "a" * 5000, '"' + "f" * 32 + '"')),
    *({"Content-MD5": value} for value in ("", "====", "A" * 22 + "==", "é")),
    *({"Content-Range": value} for value in ("bytes", "bytes 0-0/x", "bytes 0-1/" + "9" * 5000)),
    *({"Last-Modified": value} for value in ("", "never")),
    *({"Content-Encoding": value} for value in ("", "gzip", "br", "x")),
]


class Answer:
    """A response to HEAD with these headers."""

    status_code, ok = 200, True

    def __init__(self, headers: dict[str, str]):
        self.headers = headers

    def close(self) -> None:
        return


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: str(headers)[:40])
def test_headers_of_wrong_kinds(headers, hub_of, folder, monkeypatch):
    hub_of("paddlenlp", folder)
    send = HttpClient._send

    def changed(self, method, url, sent):
        return Answer(headers) if method == "HEAD" else send(self, method, url, sent)

    monkeypatch.setattr(HttpClient, "_send", changed)
    with suppress(*OURS):
        model, files = find_model("acme/tiny", None, PipelineFiles(), HubOptions(source="paddlenlp"))
        assert files and all(file.size is None or file.size >= 0 for file in files)


@pytest.mark.parametrize("value", ["9" * 5000, "-5", "x", "Mon, 99 Foo 99999 99:99:99 GMT", "", "²"])
def test_retry_after(value):
    assert 0 <= http_client._retry_after(Answer({"Retry-After": value})) <= http_client.LONGEST_WAIT
