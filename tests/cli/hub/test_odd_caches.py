"""`ppdiffusers cache` and `ppdiffusers doctor` with caches that contain anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ppdiffusers.cli.diagnostics.storage import check_storage
from ppdiffusers.cli.main import main
from ppdiffusers.core.errors import PPDiffusersError
from ppdiffusers.io.snapshot import MANIFEST, cache_root
from ppdiffusers.runtime.cache import ENTRY, find_or_make, is_valid, verify_programs
from tests.faults.support import become_read_only, run_command, tree

MODEL, PROGRAM = "hf/acme--tiny/main", "abc123"


def loop(path: Path) -> None:
    path.symlink_to(path)


def nested(path: Path) -> None:
    path.mkdir()
    here = os.open(path, os.O_RDONLY)
    for _ in range(1200):  # deeper than the longest path, and than Python's recursion limit
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def elsewhere(path: Path) -> Path:
    """Return a folder next to the cache that no command may change."""
    return path.parents[len(path.parts) - path.parts.index("cache") - 1] / "elsewhere"


# what a path of the cache may be
KINDS = {
    "file": lambda path: path.write_text("x"),
    "empty folder": lambda path: path.mkdir(),
    "loop": loop,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a folder": lambda path: path.symlink_to(elsewhere(path)),
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "nested": nested,
}
MANIFEST_CONTENTS = [
    *("", "{", "[]", "null", "{}", "[" * 5000, '{"files": NaN}'),
    {"files": []},
    {"files": {"a": None}},
    {"files": {"../../outside": {"size": 1, "sha256": "", "url": ""}}},
    {"files": {"a" * 5000: {"size": 1, "sha256": "", "url": ""}}},
    {"files": {"a": {"size": -1, "sha256": 5, "url": ""}}},
    {"absent": 5},
    {"model": "b" * 100_000},
    {"model": None},
    {"revision": ["main"]},
    {"model": "acme/other\x1b[31m"},
    {"commit": 7},
]
ENTRY_CONTENTS = [
    *("", "{", "[]", "null", "{}", "[" * 5000),
    *({"files": value} for value in (None, [], {"a": 1}, {"a": [1]}, {"../a": [1, ""]}, {"a" * 5000: [1, "x"]})),
    {"files": {}, "about": ["x"] * 10_000},
    {"files": {}, "about": "\x1b[2J\n" * 100},
]


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """A cache with a model and a program."""
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path / "cache"))
    model = cache_root() / MODEL
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / MANIFEST).write_text(json.dumps(manifest()))
    find_or_make(PROGRAM, "weights", lambda place: (place / "a").write_text("a"))
    return tmp_path / "cache"


def manifest(**changes: object) -> dict:
    record = {"size": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "url": "x"}
    whole = {"format": 1, "source": "hf", "model": "acme/tiny", "revision": "main", "commit": None}
    return {**whole, "files": {"config.json": record}, "absent": [], "unfinished": [], **changes}


def survives(capsys) -> str:
    """Run all commands and the doctor; return what they print. None of them may raise."""
    capsys.readouterr()
    codes = [main(["cache", "ls"]), main(["cache", "verify"])]
    try:
        section = check_storage()
        printed = [*(" ".join(fact) for fact in section.facts), *section.problems, *section.suggestions]
    except PPDiffusersError as error:
        printed = [str(error)]
    codes.append(main(["cache", "rm", "--all", "--yes"]))
    output, errors = capsys.readouterr()
    assert all(code in (0, 1) for code in codes)
    assert "Traceback" not in errors and len(output) + len(errors) < 50_000
    assert "\x1b" not in output
    return "\n".join([output, errors, *printed])


PLACES = [
    ".", "hub", "hub/hf", "hub/hf/acme--tiny", f"hub/{MODEL}", f"hub/{MODEL}/{MANIFEST}", f"hub/{MODEL}/config.json",
    f"hub/{MODEL}/.partial", "hub/hf/acme--tiny/.main.lock", "programs", f"programs/{PROGRAM}",
    f"programs/{PROGRAM}/{ENTRY}", f"programs/{PROGRAM}/a", "programs/.locks", "programs/.x.12345678.part",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_in_each_place(kind, cache, tmp_path, capsys):
    """Each path of the cache is replaced by a file, a link to itself, a pipe, and so on."""
    import shutil

    shutil.copytree(cache, tmp_path / "whole")
    for folder in ("hf/acme--tiny/main/unet", f"{PROGRAM}/sub", "hub/hf/acme--tiny/main/vae"):
        (tmp_path / "elsewhere" / folder).mkdir(parents=True)
        (tmp_path / "elsewhere" / folder / "file").write_text("mine")
    before = tree(tmp_path / "elsewhere")
    for place in PLACES[1::4] if kind == "nested" else PLACES:
        path = cache / place
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        KINDS[kind](path)
        survives(capsys)
        assert tree(tmp_path / "elsewhere") == before
        _remove(cache)
        shutil.copytree(tmp_path / "whole", cache)


def _remove(path: Path) -> None:
    """Remove a tree of any depth."""
    import subprocess

    subprocess.run(["rm", "-rf", str(path)], check=True)


@pytest.mark.parametrize("content", MANIFEST_CONTENTS, ids=lambda content: str(content)[:30])
def test_damaged_manifests(content, cache, tmp_path, capsys):
    text = content if isinstance(content, str) else json.dumps(manifest(**content))
    (cache / "hub" / MODEL / MANIFEST).write_text(text)
    (tmp_path / "outside").write_text("mine")
    assert "manifest" in survives(capsys)
    assert not (cache / "hub" / MODEL).exists() and (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", ENTRY_CONTENTS, ids=lambda content: str(content)[:30])
def test_damaged_programs(content, cache, capsys):
    (cache / "programs" / PROGRAM / ENTRY).write_text(content if isinstance(content, str) else json.dumps(content))
    assert PROGRAM in survives(capsys)
    assert not (cache / "programs" / PROGRAM).exists()


@pytest.mark.parametrize(
    "name", ["a" * 255, os.fsdecode(b"\xff\xfe"), "a\nb", "\x1b[31mred", "--", "%2D%2D", " ", "模型"]
)
def test_odd_names(name, cache, capsys):
    models = [cache / f"hub/{folder}" for folder in (f"{name}/a/b", f"hf/{name}/main", f"hf/a/{name}")]
    for folder in (*models, cache / "programs" / name):
        folder.mkdir(parents=True)
        (folder / (ENTRY if folder.parent.name == "programs" else MANIFEST)).write_text("{}")
    survives(capsys)
    assert not any(folder.exists() for folder in models)
    assert os.listdir(cache / "programs") == [".locks"]


def test_other_folders_are_kept(cache, capsys):
    for folder in ("hub/hf/mine/main", "programs/mine"):
        (cache / folder).mkdir(parents=True)
        (cache / folder / "notes.txt").write_text("mine")
    printed = survives(capsys)
    assert "not downloaded by ppdiffusers" in printed and "not written by ppdiffusers" in printed
    assert (cache / "hub/hf/mine/main/notes.txt").exists() and (cache / "programs/mine/notes.txt").exists()


def test_links_are_not_followed(cache, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    for link in ("hub/hf/other/main", "programs/linked"):
        (cache / link).parent.mkdir(exist_ok=True)
        (cache / link).symlink_to(tmp_path / "elsewhere")
    survives(capsys)
    assert (tmp_path / "elsewhere" / "file").read_text() == "mine"


@pytest.mark.parametrize("place", PLACES[:5] + PLACES[9:12])
def test_unreadable(place, cache, tmp_path):
    """Another user may not read a part of the cache."""

    def as_another_user() -> None:
        if os.geteuid() == 0:
            for folder in (tmp_path, *tmp_path.parents[:3]):
                folder.chmod(0o755)
            os.seteuid(65534)

    (cache / place).chmod(0)
    for command in (["cache", "ls"], ["cache", "verify"], ["cache", "rm", "--all", "--yes"]):
        code, _, errors = run_command(command, tmp_path, prepare=as_another_user)
        assert code in (0, 1) and "Traceback" not in errors, errors
    (cache / place).chmod(0o755)


def test_a_file_as_cache_is_a_problem(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path / "file"))
    assert any("not a folder" in problem for problem in check_storage().problems)


def test_unreadable_program_is_compiled_again(cache, monkeypatch):
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("ppdiffusers.runtime.cache._digest", refuse)
        assert not is_valid(PROGRAM) and "Permission denied" in str(verify_programs())
    assert is_valid(PROGRAM)


def test_rm_on_a_read_only_disk_lists_every_entry(cache, tmp_path):
    code, output, errors = run_command(
        ["cache", "rm", "--all", "--yes"], tmp_path, prepare=lambda: become_read_only(cache)
    )
    assert code == 1 and "2 entries were kept" in errors and PROGRAM in errors and "acme--tiny" in errors
    assert is_valid(PROGRAM)
