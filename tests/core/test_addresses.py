"""Addresses in messages: queries and user information may contain tokens."""

from __future__ import annotations

import pytest

from ppdiffusers.core.addresses import is_web_address, shown_address, without_secrets
from ppdiffusers.core.errors import ConfigError, SourceError


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://a.com/v1.yaml?token=secret&raw=1", "https://a.com/v1.yaml"),
        ("HTTPS://me:se@cret@a.com:80/x%20y#secret", "HTTPS://a.com:80/x%20y"),
        ("https://a.com/x?token=secret words?secret", "https://a.com/x"),
        ("http://a.com/@scope/x", "http://a.com/@scope/x"),
    ],
)
def test_shown_addresses(address, shown):
    assert is_web_address(address)
    assert shown_address(address) == shown
    error = SourceError("Not found.", where=address)
    assert f"where: {shown}" in str(error)
    later = ConfigError("Not found.")
    later.at(address)
    assert "secret" not in str(error) + str(later) + str(later.where)


def test_messages_of_other_libraries():
    text = "Max retries exceeded with url: /x?token=secret (Caused by 'http://me:secret@a.com/y?sign=secret'). Why?"
    assert without_secrets(text) == "Max retries exceeded with url: /x (Caused by 'http://a.com/y Why?"


def test_paths_are_shown_as_they_are():
    assert str(SourceError("Not found.", where="models/a?b#c@d.ckpt")).endswith("where: models/a?b#c@d.ckpt")
