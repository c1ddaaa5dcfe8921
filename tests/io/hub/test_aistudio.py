"""AI Studio with and without its SDK. This SDK is a stub; tests/paddlenlp_env tests the real one."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from ppdiffusers.io.hubs.aistudio_client import find_client
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import resolve_folder
from tests.io.hub.conftest import NEEDED, NOWHERE, files_under

PIPELINE = PipelineFiles()
STUB = {
    "__init__.py": "__version__ = 'VERSION'\nfrom aistudio_sdk import hub",
    "config.py": "STUDIO_GIT_HOST_DEFAULT = 'ADDRESS'",
    "hub.py": """
import os, requests
from aistudio_sdk import config

class Hub:
    def __init__(self):
        if not os.environ.get("AISTUDIO_ACCESS_TOKEN"):
            os.environ["AISTUDIO_ACCESS_TOKEN"] = "s3cret"

def request_aistudio_git_file_info(host, owner, name, path, revision, token):
    url = f"{host}/api/v1/repos/{owner}/{name}/contents/{requests.utils.quote(path, safe='')}"
    response = requests.get(url, headers={"Authorization": f"token {token}", "SDK-Version": "stub"}, timeout=5)
    if response.status_code == 200:
        return response.json()
    return {"error_code": 1, "error_msg": response.text, "biz_code": response.status_code}
""",
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Hide a real SDK, that of another test, and logins."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "aistudio_sdk"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aistudio_sdk", None)
    find_client.cache_clear()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "aistudio_sdk"]:
        del sys.modules[name]
    find_client.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package `aistudio_sdk` with these files; VERSION and ADDRESS are replaced."""

    def put(files: dict[str, str] = STUB, version: str = "0.2.6", host: str = NOWHERE) -> None:
        package = tmp_path / "site/aistudio_sdk"
        package.mkdir(parents=True)
        for name, text in files.items():
            (package / name).write_text(text.replace("VERSION", version).replace("ADDRESS", host))
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.delitem(sys.modules, "aistudio_sdk")

    return put


@pytest.fixture
def hub(hub_of, folder):
    return hub_of("aistudio", folder)


def is_downloaded(folder: Path, **options) -> bool:
    found = resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source="aistudio", **options))
    return files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}


def sent_by_sdk(hub) -> list[bool]:
    """Return for each request of a description whether the SDK sent it."""
    return ["SDK-Version" in request.headers for request in hub.requests if hub.is_listing(request.path)]


def test_the_sdk_provides_host_token_and_descriptions_and_our_engine_downloads(hub, folder, install, monkeypatch):
    monkeypatch.delenv("STUDIO_GIT_HOST")
    hub.token = "s3cret"
    hub.behave.cut = {"unet/diffusion_pytorch_model.safetensors": [None]}
    install(host=hub.address)
    assert is_downloaded(folder)
    assert len(sent_by_sdk(hub)) >= len(NEEDED) and all(sent_by_sdk(hub))
    bodies = [request for request in hub.requests if not hub.is_listing(request.path)]
    assert len(bodies) >= len(NEEDED) and not any("SDK-Version" in request.headers for request in bodies)
    assert all(request.headers["Authorization"] == "token s3cret" for request in bodies)
    assert [request.headers["Range"] for request in bodies if "Range" in request.headers], "the download was resumed"
    assert "AISTUDIO_ACCESS_TOKEN" not in os.environ, "the environment is restored"


def test_the_same_files_without_the_sdk(hub, folder, caplog):
    login = Path(os.environ["AISTUDIO_CACHE_HOME"]) / ".cache/aistudio/.auth/token"
    login.parent.mkdir(parents=True)
    login.write_text("s3cret\n")
    hub.token = "s3cret"
    with caplog.at_level(logging.INFO):
        assert is_downloaded(folder)
    assert not any(sent_by_sdk(hub))
    assert not caplog.records


@pytest.mark.parametrize("version", ["0.1.3", "0.2.3", "0.3.9"])
def test_releases_that_log_descriptions_provide_host_and_token_only(version, hub, folder, install, monkeypatch):
    monkeypatch.delenv("STUDIO_GIT_HOST")
    hub.token = "s3cret"
    install(version=version, host=hub.address)
    assert is_downloaded(folder)
    assert not any(sent_by_sdk(hub))


BROKEN = {
    "older than its hub": ({"__init__.py": "__version__ = 'VERSION'"}, "release 0.0.1 has no hub.Hub, hub.config"),
    "an incomplete release": (
        {**STUB, "hub.py": "from aistudio_sdk import config\nclass Hub: pass"},
        "has no hub.request",
    ),
    "its part missing": ({"__init__.py": "from aistudio_sdk import hub"}, "cannot import name 'hub'"),
    "its module missing": ({"__init__.py": "import aistudio_sdk.hub"}, "No module named 'aistudio_sdk.hub'"),
    "its dependency missing": ({"__init__.py": "import no_such_package"}, "No module named 'no_such_package'"),
    "an invalid environment": ({"__init__.py": "raise ValueError('Invalid ENV: x')"}, "Invalid ENV: x"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_sdk_is_not_used_and_warned_about_once(how, hub, folder, install, caplog):
    files, reason = BROKEN[how]
    install(files, version="0.0.1")
    with caplog.at_level(logging.WARNING):
        assert is_downloaded(folder)
        assert is_downloaded(folder, force_download=True)
    assert not any(sent_by_sdk(hub))
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert "pip install 'aistudio-sdk" in record.getMessage()


def test_our_client_retries_a_busy_server(hub, folder, install, caplog):
    hub.behave.busy = {"unet/config.json": [503, 503, 429]}
    install()
    with caplog.at_level(logging.INFO):
        assert is_downloaded(folder)
    assert "503" in caplog.text and "continuing without the SDK" in caplog.text
    assert sum(sent_by_sdk(hub)) > len(NEEDED), "the SDK describes the other files"


@pytest.mark.parametrize(
    "statement", ["raise requests.ConnectionError('torn')", "b'\\xff'.decode()", "return 'text'", "return None"]
)
def test_an_sdk_without_a_response_is_not_used_again(statement, hub, folder, install, caplog):
    place = "    url = f"
    install({**STUB, "hub.py": STUB["hub.py"].replace(place, f"    {statement}\n{place}")})
    with caplog.at_level(logging.INFO):
        assert is_downloaded(folder)
    assert not any(sent_by_sdk(hub))
    assert caplog.text.count("continuing without the SDK") == 1


def test_the_sdk_is_not_used_for_what_it_does_not_support(hub, folder, install, monkeypatch):
    """It always sends the environment's token, and has no proxies for one call."""
    install()
    monkeypatch.setenv("AISTUDIO_ACCESS_TOKEN", "s3cret")
    assert is_downloaded(folder, token=False)
    assert not any("Authorization" in request.headers for request in hub.requests)
    assert is_downloaded(folder, force_download=True, proxies={"https": NOWHERE})
    assert not any(sent_by_sdk(hub))


def test_offline_opens_no_socket(hub, folder, install, no_sockets):
    install()
    assert is_downloaded(folder)
    assert all(sent_by_sdk(hub))
    no_sockets()
    assert is_downloaded(folder, local_files_only=True)
