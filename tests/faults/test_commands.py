"""Commands on a full or read-only disk, with odd names and encodings: one message and an exit code, no traceback."""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import sys
from pathlib import Path

import pytest

from ppdiffusers.cli import main, running
from ppdiffusers.cli.diagnostics import machine, network, software
from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.core.errors import PPDiffusersError
from ppdiffusers.core.files import cache_folder
from ppdiffusers.io.snapshot import MANIFEST
from ppdiffusers.runtime.cache import ENTRY
from tests.faults.support import become_read_only, become_small_disk, run_command, tree
from tests.faults.test_kills import pipeline
from tests.io.hub.conftest import folder, hub_of, only_loopback

__all__ = ["folder", "hub_of", "only_loopback"]


@pytest.fixture
def model(tmp_path) -> Path:
    """A pipeline in a folder with a name that is not ASCII."""
    from ppdiffusers import DDPMScheduler

    place = tmp_path / "模型 é"
    pipeline(1, DDPMScheduler).save_pretrained(place, to_diffusers=True)
    return place


@pytest.fixture(autouse=True)
def quick_doctor(monkeypatch, tmp_path):
    """The doctor examines the caches only: the other sections start processes and open connections."""
    for module, name in ((software, "check_software"), (machine, "check_machine"), (network, "check_network")):
        monkeypatch.setattr(module, name, lambda: Section("模型", [("name", str(tmp_path / "模型"))]))
    monkeypatch.setenv("PPDIFFUSERS_LANG", "en")


def commands(model: Path, output: Path) -> dict[str, list[str]]:
    """Return each command that prints: name -> arguments."""
    source = ["--pretrained_model_name_or_path", str(model)]
    return {
        "convert": ["convert", *source, "--output_path", str(output)],
        "info": ["info", str(model)],
        "info --json": ["info", "--json", str(model / "unet" / "diffusion_pytorch_model.safetensors")],
        "export": ["export", str(model), str(output)],
        "download": ["download", "acme/tiny", "--to", str(output)],
        "download --plan": ["download", "acme/tiny", "--plan"],
        "cache ls": ["cache", "ls"],
        "cache verify": ["cache", "verify"],
        "cache rm": ["cache", "rm", "--all", "--yes"],
        "doctor": ["doctor"],
    }


def test_every_command_is_listed(model, capsys):
    with pytest.raises(SystemExit):
        main.main(["--help"])
    listed = re.findall(r"^    (\w+)  ", capsys.readouterr().out, flags=re.M)
    assert {arguments[0] for arguments in commands(model, model).values()} == set(listed)


def fill_cache() -> None:
    """Put something with an odd name into the cache."""
    model, program = cache_folder() / "hub" / "hf" / "模型" / "main", cache_folder() / "programs" / "程序"
    for place, name in ((model, MANIFEST), (program, ENTRY)):
        place.mkdir(parents=True)
        (place / name).write_text("{}")


def expect_error(result: tuple[int, str, str], pattern: str) -> None:
    code, _, errors = result
    assert code == 1 and "\nerror: " in f"\n{errors}" and pattern in errors, errors
    assert "Traceback" not in errors and "Exception ignored" not in errors


NAMES = sorted(commands(Path(), Path()))


@pytest.mark.parametrize("name", NAMES)
def test_output_that_cannot_be_written(name, model, hub_of, folder, tmp_path):
    hub_of("hf", folder)
    fill_cache()
    arguments = commands(model, tmp_path / "结果")[name]
    result = run_command(arguments, tmp_path, output=Path("/dev/full"))
    expect_error(result, "The disk is full" if name != "cache verify" else "2 entries are damaged")


@pytest.mark.parametrize("name", NAMES)
def test_output_in_an_encoding_without_the_characters(name, model, hub_of, folder, tmp_path):
    hub_of("hf", folder)
    fill_cache()
    arguments = commands(model, tmp_path / "结果")[name]
    code, output, errors = run_command(arguments, tmp_path, encoding="ascii")
    assert "Traceback" not in errors
    assert code == (1 if name in ("doctor", "cache verify") else 0), errors  # what is in the cache is damaged
    if name in ("convert", "info", "export", "download", "cache ls", "doctor"):
        assert "\\u" in output


WRITING = ["convert", "export", "download"]


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("disk", ["full", "read-only"])
def test_output_folder(name, disk, model, hub_of, folder, tmp_path):
    hub_of("hf", folder)
    place = tmp_path / "place"
    place.mkdir()
    become = (lambda: become_small_disk(place, 4096)) if disk == "full" else (lambda: become_read_only(place))
    result = run_command(commands(model, place / "结果")[name], tmp_path, prepare=become)
    expect_error(result, "")
    message = result[2].lower()
    assert any(text in message for text in ("full", "space", "large")) if disk == "full" else "read-only" in message
    assert not tree(place)


@pytest.mark.parametrize("name", ["download", "cache rm"])
def test_read_only_cache(name, hub_of, folder, tmp_path):
    hub_of("hf", folder)
    fill_cache()
    before = tree(cache_folder())
    arguments = {"download": ["download", "acme/tiny"], "cache rm": ["cache", "rm", "--all", "--yes"]}[name]
    result = run_command(arguments, tmp_path, prepare=lambda: become_read_only(cache_folder()))
    expect_error(result, "ead-only")
    assert tree(cache_folder()) == before


@pytest.mark.parametrize("name", ["cache ls", "cache verify", "doctor", "info", "convert"])
def test_reading_needs_no_cache_to_write_to(name, model, tmp_path):
    arguments = commands(model, tmp_path / "output")[name]
    cache_folder().mkdir()
    become = lambda: become_read_only(cache_folder())  # noqa: E731
    code, output, errors = run_command(arguments, tmp_path, prepare=become)
    assert code == (1 if name == "doctor" else 0) and "error" not in errors
    assert name != "doctor" or "The cache is not writable" in output


@pytest.mark.parametrize("name", NAMES)
def test_unknown_home(name, model, hub_of, folder, tmp_path, monkeypatch):
    hub_of("hf", folder)
    monkeypatch.delenv("PPDIFFUSERS_CACHE")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does where no user is known
    monkeypatch.chdir(tmp_path)
    result = run_command(commands(model, tmp_path / "output")[name], tmp_path)
    assert "Traceback" not in result[2]
    if name.startswith(("cache", "doctor")):
        expect_error(result, "set PPDIFFUSERS_CACHE")
    assert not (tmp_path / "~" / ".cache" / "ppdiffusers").exists()  # Paddle has a cache there


@pytest.mark.parametrize("name", ["convert", "info", "export"])
@pytest.mark.parametrize("kind", ["loop", "long", "undecodable"])
def test_odd_paths(name, kind, model, tmp_path):
    paths = {
        "loop": tmp_path / "loop",
        "long": tmp_path / ("a" * 300),
        "undecodable": tmp_path / os.fsdecode(b"\xff\n"),
    }
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    arguments = [str(paths[kind]) if part == str(model) else part for part in commands(model, tmp_path / "out")[name]]
    expect_error(run_command(arguments, tmp_path), "")
    if name != "info":
        arguments = commands(model, paths[kind])[name]
        code, _, errors = run_command(arguments, tmp_path)
        assert "Traceback" not in errors, errors
        assert code == (0 if (name, kind) == ("convert", "undecodable") else 1)


def test_too_little_memory(tmp_path):
    def limit() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
        os._exit(running.run(lambda arguments: bytearray(1 << 30) and 0, None))

    expect_error(run_command([], tmp_path, prepare=limit), "too little memory")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "cannot be read or written"),
        (OSError("odd"), "refused"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), "PYTHONUTF8"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "encoding"),
        (MemoryError(), "memory"),
    ],
)
def test_errors_of_the_system_are_ours(error, message):
    ours = running.system_error(error)
    assert isinstance(ours, PPDiffusersError) and message in str(ours) and "what to do" in str(ours)


def test_a_reader_that_ends_early(tmp_path):
    fill_cache()
    read, write = os.pipe()
    os.close(read)
    code, _, errors = run_command(["cache", "ls"], tmp_path, output=write)
    os.close(write)
    assert code == 1 and errors == ""


def test_standard_output_keeps_its_error_handler(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", output)
    assert running.run(lambda arguments: print("模"), None) == 0
    assert output.errors == "strict" and output.buffer.getvalue() == b"\\u6a21\n"
