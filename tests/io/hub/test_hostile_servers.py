"""Servers that send too much, too slowly, or something else: the download ends with our error and caches nothing."""

from __future__ import annotations

import gzip
import itertools
import time

import pytest

from ppdiffusers.core.errors import SourceError
from ppdiffusers.io import http_client
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import ModelFiles
from ppdiffusers.io.resolve import resolve_folder
from tests.io.hub.servers import CHUNK, PROTOCOLS, Response

WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET = ModelFiles(("diffusion_pytorch_model",))
MEGABYTE = b"a" * 2**20
BOMB = gzip.compress(b"\0" * 50 * 2**20)


def get_unet(source: str):
    return resolve_folder("acme/tiny", "unet", UNET, HubOptions(source=source))


def endless():
    return itertools.repeat(MEGABYTE)


@pytest.mark.parametrize("source", sorted(PROTOCOLS.keys() - {"paddlenlp"}))  # that announces it in the same response
def test_a_download_stops_at_the_announced_size(source, hub_of, folder):
    hub = hub_of(source, folder)
    hub.behave.instead[WEIGHTS] = ({}, endless)
    with pytest.raises(SourceError):
        get_unet(source)
    sent = sum(request.sent for request in hub.requests)
    assert sent < 100 * 2**20, "sockets and threads buffer a little"


def test_a_small_file_of_unknown_size_is_limited(hub_of, folder, tmp_path):
    hub = hub_of("paddlenlp", folder)
    hub.behave.instead["config.json"] = ({}, lambda: itertools.chain([b'{"a": "'], endless()))
    with pytest.raises(SourceError, match="more than 67108864 bytes"):
        get_unet("paddlenlp")
    assert not list((tmp_path / "cache").rglob("config.json"))


@pytest.mark.parametrize("source", ["hf", "paddlenlp"])
def test_a_compressed_bomb(source, hub_of, folder):
    hub = hub_of(source, folder)
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(BOMB) * 2000)}  # 100 MB each, inflated
    hub.behave.instead[WEIGHTS] = (headers, lambda: itertools.repeat(BOMB, 2000))
    started = time.monotonic()
    with pytest.raises(SourceError):
        get_unet(source)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>log in</html>", b"  <html>log in</html>", b"log in"])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_not_cached(page, kind, hub_of, folder, tmp_path):
    hub = hub_of("paddlenlp", folder)
    hub.behave.instead["config.json"] = ({"Content-Type": kind, "Content-Length": str(len(page))}, lambda: [page])
    with pytest.raises(SourceError, match="web page|not JSON"):
        get_unet("paddlenlp")
    assert not list((tmp_path / "cache").rglob("config.json"))
    del hub.behave.instead["config.json"]
    assert (get_unet("paddlenlp") / "config.json").read_bytes() == (folder / "unet" / "config.json").read_bytes()


def test_a_web_page_instead_of_weights(hub_of, folder, tmp_path):
    hub = hub_of("paddlenlp", folder)
    page = b"<!doctype html>" + b" " * 1000
    hub.behave.instead[WEIGHTS] = ({"Content-Length": str(len(page))}, lambda: [page])
    with pytest.raises(SourceError, match="web page"):
        get_unet("paddlenlp")
    assert not list((tmp_path / "cache").rglob(WEIGHTS))


def test_the_rest_of_another_version_is_not_appended(hub_of, folder):
    """The server ignores If-Range and answers a request for a part with the rest of another version."""
    hub = hub_of("paddlenlp", folder)
    weights = (folder / "unet" / WEIGHTS).read_bytes()
    hub.behave.opaque, hub.behave.cut = True, {WEIGHTS: [CHUNK]}
    hub.behave.etags = {WEIGHTS: '"another-version"'}
    assert (get_unet("paddlenlp") / WEIGHTS).read_bytes() == weights
    whole = [request for request in hub.requests if request.path.endswith(WEIGHTS) and request.sent == len(weights)]
    assert len(whole) == 1, "after the refused part, the download begins again"


@pytest.mark.parametrize("where", ["listing", "file"])
def test_a_server_that_trickles_is_given_up(where, hub_of, folder, monkeypatch):
    monkeypatch.setattr(http_client, "PATIENCE", 0.3)
    hub = hub_of("hf", folder)

    def trickle():
        while True:
            time.sleep(0.02)
            yield b"{"

    if where == "listing":  # served like a file
        monkeypatch.setattr(hub, "respond", lambda *request: Response(200, is_file=True))
    hub.behave.instead["" if where == "listing" else WEIGHTS] = ({"Content-Length": "100000"}, trickle)
    started = time.monotonic()
    with pytest.raises(SourceError):
        get_unet("hf")
    assert time.monotonic() - started < 15


def test_a_slow_server_is_not_given_up(hub_of, folder, monkeypatch):
    monkeypatch.setattr(http_client, "PATIENCE", 0.2)
    hub = hub_of("hf", folder)
    hub.behave.delay = 0.1  # 10 chunks a second
    assert (get_unet("hf") / WEIGHTS).read_bytes() == (folder / "unet" / WEIGHTS).read_bytes()
