"""Access tokens: cleaned, refused by name, and never shown."""

import logging

import pytest
import requests

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.io.http_client import HttpClient
from ppdiffusers.io.hubs.base import HubOptions, RemoteFile
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.tokens import clean_token

TOKEN = "hf_SecretSecretSecret"
INSIDE = {"line break": "\n", "invisible": "\u200b", "not ASCII": "\u00e9"}


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\t", "\ufeff", "\u200b\n", "\u00a0"])
def test_what_copying_adds_is_removed(around):
    assert clean_token(f"{around}{TOKEN}{around}", "x") == TOKEN
    assert pop_hub_options({"token": TOKEN + around}).token == HubOptions(token=around + TOKEN).token == TOKEN


@pytest.mark.parametrize("kind", INSIDE)
def test_other_characters_are_refused_without_the_token(kind, caplog):
    caplog.set_level(logging.DEBUG)
    bad = TOKEN[:9] + INSIDE[kind] + TOKEN[9:]
    with pytest.raises(InputError, match=f"`token`(.|\n)*{kind}(.|\n)*position 9") as raised:
        resolve_folder("acme/tiny", options=pop_hub_options({"use_auth_token": bad}))
    assert "Secret" not in str(raised.value) + repr(raised.value) + caplog.text


@pytest.mark.parametrize(
    ("source", "name"),
    [("hf", "HF_TOKEN"), ("aistudio", "AISTUDIO_ACCESS_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")],
)
@pytest.mark.parametrize("kind", INSIDE)
def test_tokens_of_the_environment(source, name, kind, monkeypatch, caplog):
    if (source, kind) == ("hf", "line break"):
        kind = "not ASCII"  # huggingface_hub removes line breaks itself
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(name, TOKEN[:9] + INSIDE[kind] + TOKEN[9:])
    monkeypatch.setattr(requests.Session, "request", lambda *args, **kwargs: pytest.fail("a request was sent"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE")
    with pytest.raises(SourceError, match="token") as raised:
        resolve_folder("acme/tiny", options=HubOptions(source=source))
    shown, error = [caplog.text], raised.value
    while error is not None:
        shown.append(f"{error} {error!r}")
        error = error.__cause__ or error.__context__
    assert "Secret" not in "".join(shown) and kind in str(raised.value)


def test_a_header_is_checked_before_it_is_sent():
    with pytest.raises(SourceError, match="authorization") as raised:
        HttpClient().read("http://localhost:1/x", {"authorization": f"Bearer {TOKEN}\nmore"})
    assert "Secret" not in str(raised.value)


def test_representations_do_not_show_secrets():
    options = HubOptions(token=TOKEN, proxies={"https": "http://me:Secret@proxy"})
    file = RemoteFile("a", "https://hub/a", headers={"authorization": TOKEN})
    assert "Secret" not in repr(options) + repr(file)
