"""`ppdiffusers doctor`: the report, and the problems that it detects."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ppdiffusers.cli.diagnostics import machine, software
from ppdiffusers.cli.diagnostics.network import check_network
from ppdiffusers.cli.diagnostics.storage import check_storage
from ppdiffusers.cli.main import main
from ppdiffusers.io.snapshot import MANIFEST, cache_root
from tests.io.hub.conftest import NOWHERE
from tests.io.hub.servers import PROTOCOLS

ROOT = Path(__file__).parents[3]


def run_doctor(**environment: str) -> tuple[int, str]:
    """Run the command in a separate process; return exit code and output."""
    code = "import sys; from ppdiffusers.cli.main import main; sys.exit(main(['doctor']))"
    extra = environment.pop("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (extra, str(ROOT)))), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def pretend_installed(site: Path, name: str, version: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def hubs(hub_of, folder):
    return {source: hub_of(source, folder) for source in PROTOCOLS}


def test_no_problems(hubs):
    code, output = run_doctor()
    assert code == 0, output
    assert "Problems: none" in output
    for fact in (platform.python_version(), metadata.version("paddlepaddle"), metadata.version("numpy"), "Processor"):
        assert fact in output
    assert len(re.findall(r"reachable, \d+ ms", output)) == len(PROTOCOLS)
    for hub in hubs.values():
        assert hub.address in output
        assert len(hub.requests) == 1


def test_chinese(hubs):
    code, output = run_doctor(PPDIFFUSERS_LANG="", LC_ALL="zh_CN.UTF-8", PYTHONIOENCODING="utf-8")
    assert code == 0
    assert "存在的问题：无" in output
    for word in ("软件", "机器", "缓存", "模型仓库", "正常，"):
        assert word in output
    assert "Problems" not in output


def test_problems_and_solutions(hubs, tmp_path):
    """Two builds of Paddle, an old version, a Paddle that cannot be imported, a damaged folder."""
    site = tmp_path / "site"
    pretend_installed(site, "paddlepaddle-gpu", "3.3.1")
    pretend_installed(site, "paddlepaddle", "3.3.1")
    pretend_installed(site, "numpy", "1.20.0")
    (site / "paddle.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    damaged = cache_root() / "hf/acme--tiny/main"
    damaged.mkdir(parents=True)
    (damaged / MANIFEST).write_text("{")
    code, output = run_doctor(PYTHONPATH=str(site))
    assert code == 1
    problems = output.partition("Problems:")[2]
    for text in (
        "paddlepaddle and paddlepaddle-gpu are both installed",
        "numpy 1.20.0 is installed, but numpy<3,>=1.26 is required: pip install 'numpy<3,>=1.26'",
        "Paddle cannot be imported: ImportError: libcudart.so.12",
        "pip install 'ppdiffusers[cpu]'",
        f"{damaged}: The manifest of this folder is damaged. Remove it with `ppdiffusers cache rm acme/tiny`",
    ):
        assert text in problems, text


def test_optional_package_that_cannot_be_imported(hubs, tmp_path):
    site = tmp_path / "site"
    pretend_installed(site, "paddlenlp", "3.0.0b4")
    (site / "paddlenlp").mkdir()
    (site / "paddlenlp/__init__.py").write_text("from aistudio_sdk.hub import download")
    code, output = run_doctor(PYTHONPATH=str(site))
    assert code == 1
    assert "paddlenlp cannot be imported: ModuleNotFoundError: No module named 'aistudio_sdk'" in output
    assert "aistudio-sdk is not installed: pip install aistudio-sdk" in output, "a dependency of the extra"


def test_aistudio_sdk(hubs, tmp_path):
    """Its version is reported; it is not a problem if it cannot be imported: AI Studio is accessed without it."""
    site = tmp_path / "site"
    pretend_installed(site, "aistudio-sdk", "0.2.6")
    (site / "aistudio_sdk.py").write_text("raise ValueError('Invalid ENV: x')")
    code, output = run_doctor(PYTHONPATH=str(site))
    assert code == 0
    assert re.search(r"\n  aistudio-sdk +0\.2\.6\n", output)
    assert "aistudio-sdk cannot be imported: ValueError: Invalid ENV: x" in output.partition("Suggestions:")[2]


def test_repository_that_is_not_installed(monkeypatch):
    known = software.installed_version
    monkeypatch.setattr(software, "installed_version", lambda name: None if name == "ppdiffusers" else known(name))
    assert "ppdiffusers is not installed" in software.check_software().suggestions[0]


def test_gpus_that_the_driver_reports(monkeypatch, tmp_path):
    """A fake driver, on a machine with the CPU build of Paddle."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(machine, "installed_version", lambda name: None)
    section = machine.check_machine()
    assert ("GPU", "NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15") in section.facts
    assert "CPU build of Paddle is installed" in section.suggestions[-1]
    driver.write_text("#!/bin/sh\nexit 9\n")  # a driver without a device
    assert not [name for name, _ in machine.check_machine().facts if name == "GPU"]


def test_unused_cores(monkeypatch):
    monkeypatch.setattr(machine, "get_num_threads", lambda: 1)
    monkeypatch.setattr(machine, "physical_cores", lambda: 8)
    assert "set OMP_NUM_THREADS=8" in machine.check_machine().suggestions[0]


def test_unreachable_hubs(hub_of, folder, monkeypatch):
    hub = hub_of("hf", folder)
    found = dict(check_network().facts)
    assert list(found) == ["PaddleNLP", "Hugging Face", "ModelScope", "AI Studio"]
    assert found["Hugging Face"].startswith(f"{hub.address}  reachable, ")
    assert f"{NOWHERE}  unreachable: " in found["PaddleNLP"]
    assert not check_network().problems, "one hub is enough"
    monkeypatch.setenv("PPDIFFUSERS_SOURCES", "modelscope,paddlenlp")
    section = check_network()
    assert [name for name, _ in section.facts] == ["ModelScope", "PaddleNLP"]
    assert "No hub is reachable" in section.problems[0] and "--to" in section.problems[0]


def test_offline_sends_no_requests(hubs, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    section = check_network()
    assert all("not checked: HF_HUB_OFFLINE is set" in status for _, status in section.facts)
    assert not section.problems
    assert not any(hub.requests for hub in hubs.values())


def test_cache(hubs, folder):
    assert main(["download", "acme/tiny", "--quiet"]) == 0
    facts = dict(check_storage().facts)
    assert facts["Folder"] == str(cache_root().parent)
    assert facts["Models"].startswith("1, 2")
    assert "of at most 21.5 GB" in facts["Compiled programs"]
    hubs["paddlenlp"].behave.cut = {"unet/diffusion_pytorch_model.safetensors": [1 << 15, *[0] * 9]}
    hubs["paddlenlp"].add("acme/other", folder)
    assert main(["download", "acme/other", "--quiet", "--source", "paddlenlp"]) == 1
    section = check_storage()
    assert section.suggestions[-1] == (
        "acme/other is incomplete (32.8 KB downloaded): resume with `ppdiffusers download acme/other`."
    )
    assert not section.problems


def test_cache_is_not_writable(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert str(tmp_path) in check_storage().problems[0]
