"""Commands that access hubs, run against the test servers of `tests/io/hub`."""

import pytest

from tests.io.hub.conftest import folder, hub_of, no_sockets, only_loopback

__all__ = ["folder", "hub_of", "no_sockets", "only_loopback"]


@pytest.fixture(autouse=True)
def in_english(monkeypatch):
    """Print English in any locale; tests of Chinese output set the variable."""
    monkeypatch.setenv("PPDIFFUSERS_LANG", "en")
