"""Bad networks: downloads are complete and correct, or an error gives the reason and the next run resumes."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections import namedtuple

import pytest
import requests

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.io import http_client
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import ModelFiles, NamedFiles, PipelineFiles
from ppdiffusers.io.resolve import resolve_folder
from ppdiffusers.io.snapshot import CHECKSUMS, MANIFEST, PARTIAL
from tests.io.hub.conftest import NEEDED, files_under
from tests.io.hub.servers import CHUNK, PROTOCOLS

WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET = ModelFiles(("diffusion_pytorch_model",))
GIVES_UP = [0] * 5  # empty bodies, more in a row than the client retries


def get_unet(source: str, **options) -> bytes:
    """Download the network and return the bytes of its weights."""
    found = resolve_folder("acme/tiny", "unet", UNET, HubOptions(source=source, **options))
    return (found / WEIGHTS).read_bytes()


@pytest.fixture
def weights(folder) -> bytes:
    return (folder / "unet" / WEIGHTS).read_bytes()


# -- the connection breaks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", PROTOCOLS)
def test_a_broken_connection_is_resumed(source, hub_of, folder, weights):
    hub = hub_of(source, folder)
    hub.behave.cut = {WEIGHTS: [None, 0, None, CHUNK]}
    assert get_unet(source) == weights
    assert hub.behave.cut == {WEIGHTS: []}
    assert len(weights) <= hub.bytes_sent(WEIGHTS) < len(weights) + 2 * CHUNK, "one chunk twice per interruption"


def test_without_validator_and_checksum_the_download_restarts(hub_of, folder, weights):
    """It is unknown whether both parts are of the same file."""
    hub = hub_of("paddlenlp", folder)
    hub.behave.no_validators, hub.behave.cut = True, {WEIGHTS: [1000, 2000]}
    assert get_unet("paddlenlp") == weights
    assert hub.bytes_sent(WEIGHTS) == 1000 + 2000 + len(weights)


def test_a_server_that_ignores_ranges(hub_of, folder, weights):
    hub = hub_of("paddlenlp", folder)
    hub.behave.ignore_range, hub.behave.cut = True, {WEIGHTS: [1000, 2000]}
    assert get_unet("paddlenlp") == weights


@pytest.mark.parametrize("source", PROTOCOLS)
def test_the_next_run_resumes_an_interrupted_one(source, hub_of, folder, weights, tmp_path):
    hub = hub_of(source, folder)
    hub.behave.cut = {WEIGHTS: [3 * CHUNK, *GIVES_UP]}
    with pytest.raises(SourceError, match="broke in every attempt.* after 49152 ") as error:
        get_unet(source)
    assert "run the same again" in str(error.value)
    assert not list(tmp_path.glob(f"cache/**/{WEIGHTS}")), "an incomplete file never has the final name"
    hub.requests.clear()
    hub.behave.cut.clear()
    assert get_unet(source) == weights
    assert hub.bytes_sent(WEIGHTS) == len(weights) - 3 * CHUNK
    assert hub.bytes_sent("unet/config.json") == 0, "complete files of the first run are kept"
    assert not list(tmp_path.glob(f"cache/**/{PARTIAL}"))


def test_resume_download_can_be_disabled(hub_of, folder, weights):
    hub = hub_of("hf", folder)
    hub.behave.cut = {WEIGHTS: [3 * CHUNK, *GIVES_UP]}
    with pytest.raises(SourceError):
        get_unet("hf")
    hub.requests.clear()
    hub.behave.cut.clear()
    assert get_unet("hf", resume_download=False) == weights
    assert hub.bytes_sent(WEIGHTS) == len(weights)


@pytest.mark.parametrize("opaque", [False, True], ids=["a checksum", "only a validator"])
def test_a_file_that_changes_between_two_runs_is_downloaded_from_the_beginning(opaque, hub_of, folder, weights):
    hub = hub_of("paddlenlp", folder)
    hub.behave.opaque, hub.behave.cut = opaque, {WEIGHTS: [3 * CHUNK, *GIVES_UP]}
    with pytest.raises(SourceError):
        get_unet("paddlenlp")
    hub.behave.cut.clear()
    hub.files["acme/tiny"][f"unet/{WEIGHTS}"] = weights[::-1]
    assert get_unet("paddlenlp") == weights[::-1]


# -- wrong content --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", PROTOCOLS)
def test_wrong_content_is_downloaded_once_more_and_then_refused(source, hub_of, folder, weights, tmp_path):
    hub = hub_of(source, folder)
    hub.behave.corrupt = {WEIGHTS: [True]}
    assert get_unet(source) == weights
    assert hub.bytes_sent(WEIGHTS) == 2 * len(weights)
    hub.behave.corrupt = {WEIGHTS: [True] * 9}
    with pytest.raises(SourceError, match="not the listed file.* is .*, expected"):
        get_unet(source, cache_dir=tmp_path / "other")
    assert not list(tmp_path.glob(f"other/**/{WEIGHTS}"))


@pytest.mark.parametrize("name", ["tokenizer/vocab.json", "scheduler/scheduler_config.json"])
def test_small_files_are_verified(name, hub_of, folder):
    hub = hub_of("hf", folder)  # with checksums of git objects
    hub.behave.corrupt = {name: [True] * 9}
    with pytest.raises(SourceError, match=rf"{name}: The received data are not the listed file.*git-sha1"):
        resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="hf"))


def test_a_body_that_ends_before_its_length(hub_of, folder):
    hub = hub_of("paddlenlp", folder)
    hub.behave.lie = {WEIGHTS}
    with pytest.raises(SourceError, match=WEIGHTS):
        get_unet("paddlenlp")


def test_a_body_that_is_longer_than_listed(hub_of, folder, tmp_path):
    hub = hub_of("hf", folder)
    hub.behave.longer = {WEIGHTS}
    with pytest.raises(SourceError, match="sends 199944 bytes, expected 199936"):
        get_unet("hf")
    assert not list(tmp_path.glob(f"cache/**/{WEIGHTS}"))


def test_all_files_that_fail_are_in_one_error(hub_of, folder):
    hub = hub_of("hf", folder)
    names = ("text_encoder/model.safetensors", f"unet/{WEIGHTS}")
    hub.behave.missing = set(names)
    hub.behave.delay = 0.05  # both downloads have started when the first response arrives
    with pytest.raises(SourceError, match="files could not be downloaded") as error:
        resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="hf"))
    assert any(f"{name}: The server refused the request. 404" in str(error.value) for name in names)


def test_the_next_hub_is_tried_when_a_download_fails(hub_of, folder, weights, tmp_path, caplog):
    """The hub has the model and each download fails, as when a network blocks the file servers of a hub."""
    bad, good = hub_of("paddlenlp", folder), hub_of("hf", folder)
    bad.behave.corrupt = {WEIGHTS: [True] * 99}
    found = resolve_folder("acme/tiny", "unet", UNET)
    assert (found / WEIGHTS).read_bytes() == weights
    assert "downloading acme/tiny from paddlenlp failed" in caplog.text
    good.behave.corrupt = {WEIGHTS: [True] * 99}
    with pytest.raises(http_client.FetchError) as error:
        resolve_folder("acme/tiny", "unet", UNET, HubOptions(cache_dir=tmp_path / "other"))
    text = str(error.value)
    for reason in ("its md5 is", "its sha256 is", "ModelScope (", "AI Studio (", "run the same again"):
        assert reason in text


def test_an_unfinished_download_is_an_error_offline(hub_of, folder, monkeypatch):
    """Even if the missing file is optional."""
    hub = hub_of("hf", folder)
    hub.behave.cut = {"tokenizer_config.json": GIVES_UP}
    with pytest.raises(SourceError):
        resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="hf"))
    hub.behave.cut.clear()
    monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    with pytest.raises(SourceError, match="download was not finished|tokenizer_config.json is missing"):
        resolve_folder("acme/tiny", required=PipelineFiles())
    monkeypatch.delenv("PPDIFFUSERS_OFFLINE")
    found = resolve_folder("acme/tiny", required=PipelineFiles())
    monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    assert resolve_folder("acme/tiny", required=PipelineFiles()) == found
    assert set(files_under(found)) == NEEDED


# -- slow and busy servers, redirects, missing files ----------------------------------------------------------------


def test_a_slow_server(hub_of, folder, weights, monkeypatch):
    """Each chunk arrives in time; the whole file takes longer than the timeout."""
    monkeypatch.setenv("PPDIFFUSERS_TIMEOUT", "1.5")
    hub = hub_of("paddlenlp", folder)
    hub.behave.delay = 0.15  # 13 chunks
    start = time.monotonic()
    assert get_unet("paddlenlp") == weights
    assert time.monotonic() - start > 1.5
    assert hub.bytes_sent(WEIGHTS) == len(weights)


def test_a_silent_server_is_an_error(hub_of, folder, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_TIMEOUT", "0.5")
    hub = hub_of("paddlenlp", folder)
    hub.behave.delay = 20.0
    start = time.monotonic()
    with pytest.raises(SourceError, match="broke in every attempt"):
        get_unet("paddlenlp")
    assert time.monotonic() - start < 20.0


@pytest.mark.parametrize("source", PROTOCOLS)
def test_a_busy_server_is_retried(source, hub_of, folder, weights):
    hub = hub_of(source, folder)
    hub.behave.busy = {WEIGHTS: [429, 503], "config.json": [502], "/repo/files": [429], "revision/main": [503]}
    assert get_unet(source) == weights


def test_retry_after_is_respected(hub_of, folder, monkeypatch):
    waits = []
    monkeypatch.setattr(http_client.time, "sleep", waits.append)
    hub = hub_of("hf", folder)
    hub.behave.busy, hub.behave.retry_after = {"revision/main": [429, 503]}, "7"
    get_unet("hf")
    assert waits.count(7.0) == 2
    hub.behave.busy, hub.behave.retry_after = {f"unet/{WEIGHTS}": [429]}, "86400"
    get_unet("hf", force_download=True)
    assert max(waits) == http_client.LONGEST_WAIT, "the wait is limited"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", http_client.LONGEST_WAIT),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("tomorrow GMT", 0.0),
        ("-5", 0.0),
    ],
)
def test_formats_of_retry_after(text, seconds, hub_of, folder, monkeypatch):
    waits = []
    monkeypatch.setattr(http_client.time, "sleep", waits.append)
    hub = hub_of("hf", folder)
    hub.behave.busy, hub.behave.retry_after = {"revision/main": [503]}, text
    get_unet("hf")
    assert max(waits) == max(seconds, http_client.RETRY_WAITS[0])


def test_a_host_that_never_responded_is_retried_less_often(hub_of, folder, monkeypatch):
    """The network may not be able to reach it, and the next hub is tried; other hosts get all retries."""
    waits = []
    monkeypatch.setattr(http_client.time, "sleep", waits.append)
    hub_of("hf", folder)
    monkeypatch.setenv("PPDIFFUSERS_SOURCES", "paddlenlp,hf")  # no server listens at the first one
    assert resolve_folder("acme/tiny", required=PipelineFiles()).is_dir()
    assert [wait for wait in waits if wait] == [*http_client.RETRY_WAITS[:2]]
    waits.clear()
    client, address = http_client.HttpClient(), hub_of("modelscope", folder).address
    with pytest.raises(http_client.FetchError, match="404"):
        client.read(address)

    def unplugged(*args, **kwargs):
        raise requests.ConnectionError("unplugged")

    monkeypatch.setattr(requests.Session, "request", unplugged)
    waits.clear()
    with pytest.raises(http_client.FetchError, match="unplugged"):
        client.read(address)
    assert [wait for wait in waits if wait] == [*http_client.RETRY_WAITS]


def test_a_server_that_stays_busy_is_an_error(hub_of, folder):
    hub = hub_of("hf", folder)
    hub.behave.busy = {"revision/main": [503] * 99}
    with pytest.raises(SourceError, match="503"):
        get_unet("hf")
    assert len(hub.requests) == 1 + len(http_client.RETRY_WAITS)


@pytest.mark.parametrize("source", PROTOCOLS)
def test_redirects_are_followed(source, hub_of, folder, weights):
    hub = hub_of(source, folder)
    hub.behave.redirect, hub.behave.cut = True, {WEIGHTS: [None]}
    assert get_unet(source) == weights
    assert any(request.path.startswith("/cdn/") for request in hub.requests)


def test_a_token_is_not_sent_to_another_host(hub_of, folder, weights):
    hub, elsewhere = hub_of("hf", folder), hub_of("aistudio", folder)
    hub.token = "s3cret"
    usual = hub.respond
    host = elsewhere.address.replace("127.0.0.1", "localhost")
    target = f"{host}/api/v1/repos/acme/tiny/media/unet/{WEIGHTS}"

    def respond(method, path, query):
        given = usual(method, path, query)
        return type(given)(302, b"", {"Location": target}) if path.endswith(WEIGHTS) else given

    hub.respond = respond
    assert get_unet("hf", token="s3cret") == weights
    assert len(elsewhere.requests) == 1
    assert "Authorization" not in elsewhere.requests[0].headers


@pytest.mark.parametrize("source", PROTOCOLS)
def test_missing_files(source, hub_of, folder):
    """The settings of a tokenizer are optional; its vocabulary is required."""
    (folder / "tokenizer/tokenizer_config.json").unlink()
    hub = hub_of(source, folder)
    found = resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source=source))
    assert set(files_under(found)) == NEEDED - {"tokenizer/tokenizer_config.json"}
    del hub.files["acme/tiny"]["tokenizer/merges.txt"], hub.files["acme/tiny"]["scheduler/scheduler_config.json"]
    with pytest.raises(SourceError) as error:
        options = HubOptions(source=source, force_download=True)
        resolve_folder("acme/tiny", required=PipelineFiles(), options=options)
    for problem in ("tokenizer: no vocab.json and merges.txt or", "scheduler: no scheduler_config.json"):
        assert problem in str(error.value)
    assert set(files_under(found)) == NEEDED - {"tokenizer/tokenizer_config.json"}, "existing files are kept"


# -- the cache -------------------------------------------------------------------------------------------------------


def test_files_are_downloaded_in_parallel(hub_of, folder, monkeypatch):
    names = [f"part{n}.bin" for n in range(4)]
    for name in names:
        (folder / name).write_bytes(b"x" * 5000)
    hub = hub_of("hf", folder)
    together = threading.Barrier(4, timeout=20)
    usual = hub.respond

    def respond(method, path, query):
        if path.endswith(".bin"):
            together.wait()  # returns when four requests wait at once
        return usual(method, path, query)

    hub.respond = respond
    required = NamedFiles(tuple(names))
    found = resolve_folder("acme/tiny", required=required, options=HubOptions(source="hf"))
    assert len(files_under(found)) == 4
    monkeypatch.setenv("PPDIFFUSERS_DOWNLOAD_WORKERS", "0")
    with pytest.raises(InputError, match="PPDIFFUSERS_DOWNLOAD_WORKERS"):
        resolve_folder("acme/tiny", required=required, options=HubOptions(source="hf", force_download=True))


def test_force_download_replaces_files_when_the_download_is_complete(hub_of, folder, weights):
    hub = hub_of("hf", folder)
    assert get_unet("hf") == weights
    hub.files["acme/tiny"][f"unet/{WEIGHTS}"] = weights[::-1]
    assert get_unet("hf") == weights
    hub.behave.cut = {WEIGHTS: [0] * 9}
    with pytest.raises(SourceError):
        get_unet("hf", force_download=True)
    assert get_unet("hf") == weights
    hub.behave.cut.clear()
    assert get_unet("hf", force_download=True) == weights[::-1]
    assert get_unet("hf") == weights[::-1]


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"short")])
def test_a_missing_or_truncated_file_in_the_cache_is_downloaded_again(damage, hub_of, folder, weights):
    hub_of("hf", folder)
    found = resolve_folder("acme/tiny", "unet", UNET, HubOptions(source="hf"))
    damage(found / WEIGHTS)
    assert get_unet("hf") == weights


def test_the_manifest_lists_all_files_and_sha256sum_can_verify_them(hub_of, folder):
    import hashlib

    hub = hub_of("paddlenlp", folder)
    found = resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="paddlenlp"))
    manifest = json.loads((found / MANIFEST).read_text("utf-8"))
    assert (manifest["source"], manifest["model"]) == ("paddlenlp", "acme/tiny")
    assert set(manifest["files"]) == NEEDED
    assert all(entry["url"].startswith(hub.address) for entry in manifest["files"].values())
    for line in (found / CHECKSUMS).read_text("utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((found / name).read_bytes()).hexdigest() == digest


def test_a_damaged_manifest(hub_of, folder):
    hub_of("hf", folder)
    found = resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="hf"))
    (found / MANIFEST).write_text('{"files": 3}')
    with pytest.raises(SourceError, match="manifest of this folder is damaged"):
        resolve_folder("acme/tiny", required=PipelineFiles())


def test_free_space_is_checked_before_the_download(hub_of, folder, monkeypatch):
    hub = hub_of("hf", folder)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(SourceError, match="(?s)disk has too little space.*free bytes; there are 1000"):
        get_unet("hf")
    assert hub.fetched() == []


@pytest.mark.parametrize("value", ["soon", "0", "-1"])
def test_an_invalid_timeout(value, hub_of, folder, monkeypatch):
    hub_of("hf", folder)
    monkeypatch.setenv("PPDIFFUSERS_TIMEOUT", value)
    with pytest.raises(InputError, match="PPDIFFUSERS_TIMEOUT"):
        get_unet("hf")


# -- progress bar---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["hf", "aistudio"])
def test_the_progress_bar_shows_the_bytes_of_all_files(source, hub_of, folder, capsys):
    hub = hub_of(source, folder)
    hub.behave.cut, hub.behave.corrupt = {WEIGHTS: [1000]}, {"vocab.json": [True]}
    found = resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source=source, progress=True))
    total = sum(len(content) for content in files_under(found).values())
    last = re.findall(r"acme/tiny: 100%.*?\| ([\d.]+)k/([\d.]+)k", capsys.readouterr().err)[-1]
    assert last == (f"{total / 1000:.0f}",) * 2


@pytest.mark.parametrize("how", ["environment", "option"])
def test_the_progress_bar_can_be_disabled(how, hub_of, folder, monkeypatch, capsys):
    hub_of("hf", folder)
    if how == "environment":
        monkeypatch.setenv("PPDIFFUSERS_DISABLE_PROGRESS_BARS", "1")
    get_unet("hf", progress=None if how == "environment" else False)
    assert capsys.readouterr().err == ""
