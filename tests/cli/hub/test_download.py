"""`ppdiffusers download`: the plan, the cache, and folders for machines without a network."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ppdiffusers.cli.main import main
from ppdiffusers.io.snapshot import CHECKSUMS, MANIFEST, cache_root
from tests.io.hub.conftest import NEEDED, files_under
from tests.io.hub.servers import PROTOCOLS


def expected_files(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NEEDED}


def total(folder) -> str:
    return f"{sum(map(len, expected_files(folder).values())) / 1000:.1f} KB"


@pytest.mark.parametrize("source", PROTOCOLS)
def test_plan_lists_every_file_with_size_and_url(source, hub_of, folder, capsys, tmp_path):
    hub = hub_of(source, folder)
    assert main(["download", "acme/tiny", "--plan", "--source", source]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = dict(re.fullmatch(r" *(\S+)  (\S+) +(http://\S+)", line).groups()[1::-1] for line in lines[1:-1])
    assert set(rows) == NEEDED
    sizes = {name: len(content) for name, content in expected_files(folder).items()}
    known = {name: int(size.replace(",", "")) for name, size in rows.items() if size != "?"}
    assert known == sizes
    assert all(hub.address in line for line in lines[1:-1])
    assert lines[-1].startswith(f"9 files, {total(folder)}")
    assert not any(path.endswith("safetensors") for path in hub.fetched()), "only small files are read"
    assert not cache_root().exists()


def test_download_to_the_cache_twice(hub_of, folder, capsys):
    hub = hub_of("hf", folder)
    assert main(["download", "acme/tiny", "--quiet"]) == 0
    first = capsys.readouterr()
    (path,) = cache_root().glob("hf/acme--tiny/main")
    assert first.out == f"{path}\n"
    assert first.err == ""
    assert files_under(path) == expected_files(folder)
    asked = len(hub.requests)
    assert main(["download", "acme/tiny"]) == 0
    assert f"9 files, {total(folder)}: {path}" in capsys.readouterr().out
    assert len(hub.requests) == asked


def test_variant_and_subfolder(hub_of, folder):
    hub_of("hf", folder)
    assert main(["download", "acme/tiny", "--variant", "fp16", "--subfolder", "unet"]) == 0
    (path,) = cache_root().glob("hf/acme--tiny/main")
    assert set(files_under(path)) == {"unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"}


@pytest.mark.parametrize("cached", [False, True])
def test_folder_for_a_machine_without_a_network(cached, hub_of, folder, tmp_path, capsys, monkeypatch):
    hub_of("hf", folder)
    if cached:
        assert main(["download", "acme/tiny"]) == 0
        monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    target = tmp_path / "usb" / "tiny"
    assert main(["download", "acme/tiny", "--to", str(target)]) == 0
    assert files_under(target) == expected_files(folder)
    assert {path.name for path in target.parent.iterdir()} == {"tiny"}, "no other files remain"
    assert (target / MANIFEST).is_file()
    for line in (target / CHECKSUMS).read_text("utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((target / name).read_bytes()).hexdigest() == digest
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", CHECKSUMS], cwd=target, check=True)
    capsys.readouterr()
    assert main(["cache", "verify", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: intact\n"


def test_damaged_cache_is_not_repaired_offline(hub_of, folder, tmp_path, capsys, monkeypatch, no_sockets):
    hub_of("hf", folder)
    assert main(["download", "acme/tiny"]) == 0
    (path,) = cache_root().glob("hf/acme--tiny/main")
    (path / "tokenizer/vocab.json").write_text("[]")
    monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    no_sockets()
    assert main(["download", "acme/tiny", "--to", str(tmp_path / "usb")]) == 1
    assert (
        "tokenizer/vocab.json: The network is not used, because PPDIFFUSERS_OFFLINE is set." in capsys.readouterr().err
    )


def test_folder_with_other_files_is_not_changed(hub_of, folder, tmp_path, capsys):
    hub = hub_of("hf", folder)
    hub.add("acme/other", folder)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    assert main(["download", "acme/tiny", "--to", str(mine)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert main(["download", "acme/other", "--to", str(tmp_path / "other")]) == 0
    assert main(["download", "acme/tiny", "--to", str(tmp_path / "other")]) == 1
    assert "has another model" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["diary.txt"]


def test_incomplete_folder_is_resumed(hub_of, folder, tmp_path):
    hub = hub_of("hf", folder)
    hub.behave.cut = {"unet/diffusion_pytorch_model.safetensors": [1 << 15, *[0] * 9]}
    target = str(tmp_path / "usb")
    assert main(["download", "acme/tiny", "--to", target]) == 1
    hub.behave.cut.clear()
    hub.requests.clear()
    assert main(["download", "acme/tiny", "--to", target]) == 0
    assert files_under(tmp_path / "usb") == expected_files(folder)
    sizes = {name: len(content) for name, content in expected_files(folder).items()}
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert hub.bytes_sent(unet) == sizes[unet] - (1 << 15)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_ctrl_c_prints_how_to_resume(how, hub_of, folder):
    hub = hub_of("hf", folder)
    hub.behave.delay = 0.3
    code = "import sys; from ppdiffusers.cli.main import main; sys.exit(main(['download', 'acme/tiny', '--quiet']))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not hub.bytes_sent("unet/diffusion_pytorch_model.safetensors"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == "\nInterrupted; downloaded data is kept. Run the same command again to resume.\n"


def test_force_downloads_again(hub_of, folder):
    hub = hub_of("hf", folder)
    assert main(["download", "acme/tiny"]) == 0
    hub.files["acme/tiny"]["unet/config.json"] = b'{"new": 1}'
    assert main(["download", "acme/tiny"]) == 0
    (path,) = cache_root().glob("hf/acme--tiny/main")
    assert (path / "unet/config.json").read_bytes() == b"{}"
    assert main(["download", "acme/tiny", "--force"]) == 0
    assert (path / "unet/config.json").read_bytes() == b'{"new": 1}'


def test_errors_list_all_attempts(hub_of, folder, capsys):
    hub_of("hf", folder)
    assert main(["download", "acme/none"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Hugging Face" in error and "404" in error


def test_chinese(hub_of, folder, capsys, monkeypatch):
    hub_of("hf", folder)
    monkeypatch.setenv("PPDIFFUSERS_LANG", "zh")
    assert main(["download", "acme/tiny", "--plan"]) == 0
    assert f"9 个文件，共 {total(folder)}，来自 hf" in capsys.readouterr().out
    assert main(["download", "acme/tiny"]) == 0
    assert "个文件，共" in capsys.readouterr().out
