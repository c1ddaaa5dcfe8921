"""Several processes with one cache: nothing is downloaded twice, and a killed process does no damage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import resolve_folder
from ppdiffusers.io.snapshot import MANIFEST, PARTIAL
from tests.io.hub.conftest import NEEDED, files_under

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
_LOAD = """
import sys
from ppdiffusers.io.required_files import PipelineFiles
from ppdiffusers.io.resolve import resolve_folder
print("ready", flush=True)
sys.stdin.readline()
print(resolve_folder("acme/tiny", required=PipelineFiles()))
"""


@pytest.fixture
def start():
    """Start processes that wait for a line and then load the model, until the end of the test."""
    running = []

    def begin(**environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", _LOAD],
            env={**os.environ, "PPDIFFUSERS_SOURCES": "paddlenlp", "PPDIFFUSERS_DISABLE_PROGRESS_BARS": "1"}
            | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def go(process: subprocess.Popen) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def result(process: subprocess.Popen) -> Path:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return Path(output.strip())


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "the download did not begin"
        time.sleep(0.02)


def test_two_processes_download_the_same_model_once(start, hub_of, folder):
    hub = hub_of("paddlenlp", folder)
    hub.behave.delay = 0.05  # 13 chunks: both processes wait before the first is done
    both = [start(), start()]
    for process in both:
        go(process)
    first, second = (result(process) for process in both)
    assert first == second
    assert files_under(first) == {name: (folder / name).read_bytes() for name in NEEDED}
    assert hub.bytes_sent(WEIGHTS) == len((folder / WEIGHTS).read_bytes())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_the_next_run_resumes_the_download_of_a_killed_process(how, start, hub_of, folder, tmp_path):
    hub = hub_of("paddlenlp", folder)
    hub.behave.delay = 0.1
    victim = start()
    go(victim)
    parts = f"cache/**/{PARTIAL}/{quote(WEIGHTS, safe='')}.part"
    wait_until(lambda: any(part.stat().st_size for part in tmp_path.glob(parts)))
    victim.send_signal(how)
    victim.wait(30)
    assert victim.returncode != 0
    assert not list(tmp_path.glob(f"cache/**/{WEIGHTS}"))
    if how == signal.SIGKILL:  # as if it had been writing the manifest too
        (part,) = tmp_path.glob(parts)
        (part.parents[1] / f".{MANIFEST}.abc.part").write_text("{")
    (part,) = tmp_path.glob(parts)
    received = part.stat().st_size
    hub.requests.clear()
    hub.behave.delay = 0.0
    found = resolve_folder("acme/tiny", required=PipelineFiles(), options=HubOptions(source="paddlenlp"))
    assert files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}
    assert hub.bytes_sent(WEIGHTS) == len((folder / WEIGHTS).read_bytes()) - received
    assert not list(tmp_path.glob(f"cache/**/{PARTIAL}"))


def test_a_process_waits_while_another_downloads_and_logs_it(start, hub_of, folder):
    hub = hub_of("paddlenlp", folder)
    hub.behave.delay = 0.2
    first, second = start(), start()
    go(first)
    wait_until(lambda: hub.bytes_sent(WEIGHTS))
    go(second)
    _, errors = second.communicate(timeout=60)
    assert "another process is downloading" in errors
    assert result(first).is_dir()
