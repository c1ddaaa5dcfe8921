"""Messages about web addresses show neither user names, passwords, queries nor access tokens."""

import logging
import urllib.request

import pytest

from ppdiffusers.core.addresses import hide_secrets, shown_address
from ppdiffusers.core.errors import PPDiffusersError, SourceError
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.utils import load_image

SECRETS = {
    "https://ada:S3CRET@hub.test/a/b.json": "https://hub.test/a/b.json",
    "https://S3CRET@hub.test:8080/a": "https://hub.test:8080/a",
    "https://ada:S3@CRET@hub.test/a@2.png": "https://hub.test/a@2.png",
    "HTTP://hub.test/a?token=S3CRET&x=1#S3CRET": "HTTP://hub.test/a",
    "https://hub.test?S3CRET": "https://hub.test",
    "https://hub.test/a?t=S3 CRET'\"S3CRET": "https://hub.test/a",
    "https://hub.test/repo?Revision=main&Signature=S3CRET&FilePath=unet%2Fconfig.json": (
        "https://hub.test/repo?Revision=main&FilePath=unet%2Fconfig.json"
    ),
}


@pytest.mark.parametrize("address", SECRETS)
def test_addresses(address):
    assert shown_address(address) == SECRETS[address]
    error = SourceError("No response.", where=address)
    assert error.where == SECRETS[address]
    later = SourceError("No response.")
    later.at(address)
    assert str(later) == str(error) and "S3" not in str(error) + repr(error) + str(error.args)


def test_other_places_are_unchanged():
    for place in ("C:\\a?b#c", "/a/b?c", "ada@work:x?y", "s3://bucket/a?b"):
        assert shown_address(place) == place == SourceError("Missing.", where=place).where


def test_addresses_in_texts():
    text = (
        "Max retries exceeded with url: /a/b?token=S3CRET (Caused by 'x'), from https://ada:S3CRET@a.test/c?S3CRET, "
        "and <http://b.test/?k=S3CRET>"
    )
    expected = "Max retries exceeded with url: /a/b (Caused by 'x'), from https://a.test/c and <http://b.test/>"
    assert hide_secrets(text).replace("c, ", "c ") == expected.replace("c, ", "c ")
    assert "S3CRET" not in str(PPDiffusersError(text, problems=[text], remedy=text))


REFUSED = (
    "https://ada:S3CRET@127.0.0.1:1/a?token=S3CRET",
    "https://ada:S3CRET@[bad/a?token=S3CRET",
    "ftp://S3CRET@a/b",
)


@pytest.mark.parametrize("address", REFUSED[:2])
def test_requests_that_fail(address, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, logger="ppdiffusers")
    monkeypatch.setattr("ppdiffusers.io.http_client.RETRY_WAITS", (0.0, 0.0))
    with pytest.raises(FetchError) as caught:
        HttpClient().read(address)
    assert "S3CRET" not in _everything(caught.value) + caplog.text


@pytest.mark.parametrize("address", [*REFUSED[:2], "http://ada:S3CRET@a.test/b", "http://a.test/b?x=S3 CRET"])
def test_images_that_cannot_be_downloaded(address, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    with pytest.raises(SourceError) as caught:
        load_image(address)
    assert "S3" not in _everything(caught.value)


def _everything(error: BaseException | None) -> str:
    """Return all messages that a traceback shows."""
    texts = []
    while error is not None:
        texts.append(f"{error}\n{error!r}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(texts)
