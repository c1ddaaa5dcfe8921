"""AI Studio through its real SDK: run with the release that is installed, and with the oldest that is supported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import aistudio_sdk
import pytest

from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import resolve_folder
from tests.io.hub.conftest import NEEDED, files_under, folder, hub_of, no_sockets, only_loopback

__all__ = ["folder", "hub_of", "no_sockets", "only_loopback"]  # fixtures
ROOT = Path(__file__).parents[2]
# Those of 0.2 that pip chooses are asked what a file is (io/hubs/aistudio_client.py says why others are not).
DESCRIBES = aistudio_sdk.__version__.startswith("0.2.")
PROGRAM = """
import json, logging, os
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import resolve_folder
from ppdiffusers.io.hubs.base import HubOptions
import aistudio_sdk
aistudio_sdk.hub.config.STUDIO_GIT_HOST_DEFAULT = os.environ["HOST_OF_SDK"]
found = resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="aistudio", progress=False))
print(json.dumps([str(found), "AISTUDIO_ACCESS_TOKEN" in os.environ, len(logging.getLogger().handlers)]))
"""


@pytest.fixture
def hub(hub_of, folder):
    return hub_of("aistudio", folder)


def published(folder):
    return {name: (folder / name).read_bytes() for name in NEEDED}


def asked_by_sdk(hub):
    """The release of the SDK that asked for a description, None for ourselves: one for each that was asked for."""
    return [request.headers.get("SDK-Version") for request in hub.requests if hub.is_listing(request.path)]


def test_host_token_and_descriptions_come_from_the_sdk_in_silence(hub, folder):
    """In a program of its own, whose home has a login: nothing is printed, written or left in its environment."""
    home, hub.token = Path(os.environ["AISTUDIO_CACHE_HOME"]), "s3cret"
    login = home / ".cache/aistudio/.auth/token"
    login.parent.mkdir(parents=True)
    login.write_text(hub.token)
    environment = {name: value for name, value in os.environ.items() if name != "STUDIO_GIT_HOST"}
    environment |= {"HOME": str(home), "HOST_OF_SDK": hub.address}
    environment["PYTHONPATH"] = os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=home, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    where, token_left, handlers_of_root = json.loads(done.stdout)
    assert files_under(Path(where)) == published(folder)
    assert not token_left and not handlers_of_root
    assert [path for path in home.rglob("*") if path.is_file()] == [login]
    assert set(asked_by_sdk(hub)) == {aistudio_sdk.__version__ if DESCRIBES else None}
    bodies = [request.headers for request in hub.requests if not hub.is_listing(request.path)]
    assert len(bodies) >= len(NEEDED)
    assert all(headers["Authorization"] == "token s3cret" and "SDK-Version" not in headers for headers in bodies)


def test_a_bad_network(hub, folder):
    hub.behave.busy = {"unet/config.json": [503, 429]}
    hub.behave.cut = {"unet/diffusion_pytorch_model.safetensors": [None]}
    hub.behave.corrupt = {"text_encoder/model.safetensors": [True]}
    assert files_under(resolve_folder("acme/tiny", required=PipelineFiles())) == published(folder)
    assert any(asked_by_sdk(hub)) == DESCRIBES


def test_offline_opens_no_socket(hub, folder, no_sockets):
    found = resolve_folder("acme/tiny", required=PipelineFiles())
    no_sockets()
    offline = HubOptions(local_files_only=True)
    assert resolve_folder("acme/tiny", required=PipelineFiles(), options=offline) == found
