"""AI Studio with its SDK and without. The SDK here is a stand-in; tests/paddlenlp_env asks the real one the same."""

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
STAND_IN = {
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
    answer = requests.get(url, headers={"Authorization": f"token {token}", "SDK-Version": "stand-in"}, timeout=5)
    if answer.status_code == 200:
        return answer.json()
    return {"error_code": 1, "error_msg": answer.text, "biz_code": answer.status_code}
""",
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Neither a real SDK nor one of another test is found, and nobody's login."""
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
    """Put a package `aistudio_sdk` of these files on the path; VERSION and ADDRESS in them are filled in."""

    def put(files: dict[str, str] = STAND_IN, version: str = "0.2.6", host: str = NOWHERE) -> None:
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


def arrives(folder: Path, **options) -> bool:
    found = resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source="aistudio", **options))
    return files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}


def asked_by_sdk(hub) -> list[bool]:
    """For each description that was asked for: whether the SDK did."""
    return ["SDK-Version" in request.headers for request in hub.requests if hub.is_listing(request.path)]


def test_the_sdk_gives_host_token_and_descriptions_and_our_engine_fetches(hub, folder, install, monkeypatch):
    monkeypatch.delenv("STUDIO_GIT_HOST")
    hub.token = "s3cret"
    hub.behave.cut = {"unet/diffusion_pytorch_model.safetensors": [None]}
    install(host=hub.address)
    assert arrives(folder)
    assert len(asked_by_sdk(hub)) >= len(NEEDED) and all(asked_by_sdk(hub))
    bodies = [request for request in hub.requests if not hub.is_listing(request.path)]
    assert len(bodies) >= len(NEEDED) and not any("SDK-Version" in request.headers for request in bodies)
    assert all(request.headers["Authorization"] == "token s3cret" for request in bodies)
    assert [request.headers["Range"] for request in bodies if "Range" in request.headers], "it went on where it broke"
    assert "AISTUDIO_ACCESS_TOKEN" not in os.environ, "what the SDK put there is taken away again"


def test_without_the_sdk_the_same_arrives(hub, folder, caplog):
    login = Path(os.environ["AISTUDIO_CACHE_HOME"]) / ".cache/aistudio/.auth/token"
    login.parent.mkdir(parents=True)
    login.write_text("s3cret\n")
    hub.token = "s3cret"
    with caplog.at_level(logging.INFO):
        assert arrives(folder)
    assert not any(asked_by_sdk(hub))
    assert not caplog.records


@pytest.mark.parametrize("version", ["0.1.3", "0.2.3", "0.3.9"])
def test_releases_that_are_loud_when_they_describe_give_host_and_token(version, hub, folder, install, monkeypatch):
    monkeypatch.delenv("STUDIO_GIT_HOST")
    hub.token = "s3cret"
    install(version=version, host=hub.address)
    assert arrives(folder)
    assert not any(asked_by_sdk(hub))


BROKEN = {
    "older than its hub": ({"__init__.py": "__version__ = 'VERSION'"}, "release 0.0.1 has no hub.Hub, hub.config"),
    "half a release": (
        {**STAND_IN, "hub.py": "from aistudio_sdk import config\nclass Hub: pass"},
        "has no hub.request",
    ),
    "its own part missing": ({"__init__.py": "from aistudio_sdk import hub"}, "cannot import name 'hub'"),
    "its own module missing": ({"__init__.py": "import aistudio_sdk.hub"}, "No module named 'aistudio_sdk.hub'"),
    "what it needs missing": ({"__init__.py": "import no_such_package"}, "No module named 'no_such_package'"),
    "an environment it refuses": ({"__init__.py": "raise ValueError('Invalid ENV: x')"}, "Invalid ENV: x"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_sdk_that_does_not_work_is_left_aside_with_one_warning(how, hub, folder, install, caplog):
    files, reason = BROKEN[how]
    install(files, version="0.0.1")
    with caplog.at_level(logging.WARNING):
        assert arrives(folder)
        assert arrives(folder, force_download=True)
    assert not any(asked_by_sdk(hub))
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert "pip install 'aistudio-sdk" in record.getMessage()


def test_a_busy_server_is_asked_on_by_us(hub, folder, install, caplog):
    hub.behave.busy = {"unet/config.json": [503, 503, 429]}
    install()
    with caplog.at_level(logging.INFO):
        assert arrives(folder)
    assert "503" in caplog.text and "asking without it" in caplog.text
    assert sum(asked_by_sdk(hub)) > len(NEEDED), "about the other files, it is asked"


@pytest.mark.parametrize(
    "answer", ["raise requests.ConnectionError('torn')", "b'\\xff'.decode()", "return 'text'", "return None"]
)
def test_an_sdk_that_gets_no_answer_is_not_asked_again(answer, hub, folder, install, caplog):
    place = "    url = f"
    install({**STAND_IN, "hub.py": STAND_IN["hub.py"].replace(place, f"    {answer}\n{place}")})
    with caplog.at_level(logging.INFO):
        assert arrives(folder)
    assert not any(asked_by_sdk(hub))
    assert caplog.text.count("asking without it") == 1


def test_the_sdk_is_not_asked_what_it_cannot_do(hub, folder, install, monkeypatch):
    """It sends the environment's token where none is given, and knows nothing of proxies for one call."""
    install()
    monkeypatch.setenv("AISTUDIO_ACCESS_TOKEN", "s3cret")
    assert arrives(folder, token=False)
    assert not any("Authorization" in request.headers for request in hub.requests)
    assert arrives(folder, force_download=True, proxies={"https": NOWHERE})
    assert not any(asked_by_sdk(hub))


def test_offline_opens_no_socket(hub, folder, install, no_sockets):
    install()
    assert arrives(folder)
    assert all(asked_by_sdk(hub))
    no_sockets()
    assert arrives(folder, local_files_only=True)
