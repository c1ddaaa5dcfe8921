"""Commands that ask hubs run against the same servers as the loading itself."""

import pytest

from tests.io.hub.conftest import folder, hub_of, no_sockets, only_loopback

__all__ = ["folder", "hub_of", "no_sockets", "only_loopback"]


@pytest.fixture(autouse=True)
def in_english(monkeypatch):
    """Whatever the machine speaks; tests of the Chinese say so."""
    monkeypatch.setenv("PPDIFFUSERS_LANG", "en")
