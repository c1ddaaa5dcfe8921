"""`ppdiffusers cache ls|rm|verify`: models and compiled programs."""

from __future__ import annotations

import io
import os

import paddle
import pytest

from ppdiffusers.cli.main import main
from ppdiffusers.core.files import in_use
from ppdiffusers.io import pretrained
from ppdiffusers.io.snapshot import MANIFEST, PARTIAL, Snapshot, cache_root, locked
from ppdiffusers.runtime.cache import find_or_make, list_programs
from ppdiffusers.runtime.weights import WeightsFile, write_weights
from tests.faults.support import tree
from tests.io.hub.servers import COMMIT
from tests.io.toy import Toy

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def filled(hub_of, folder):
    """Two models, one of them from two hubs, and a compiled program."""
    hub_of("hf", folder).add("acme/other", folder)
    hub_of("paddlenlp", folder)
    assert main(["download", "acme/tiny", "--quiet", "--source", "hf"]) == 0
    assert main(["download", "acme/tiny", "--quiet", "--source", "paddlenlp"]) == 0
    assert main(["download", "acme/other", "--quiet", "--source", "hf"]) == 0
    find_or_make("abc123", "UNet2DModel, 2x3x16x16", lambda place: (place / "program.json").write_bytes(b"x" * 1234))


@pytest.fixture
def run(capsys):
    """Run a command; return exit code, output and errors."""

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["cache", *arguments])
        return (code, *capsys.readouterr())

    return command


def models() -> set[str]:
    root = cache_root()
    return {path.parent.relative_to(root).as_posix() for path in root.glob(f"*/*/*/{MANIFEST}")}


def test_empty_cache(run):
    assert run("ls") == (0, f"0 entries, 0 B, in {cache_root().parent}\n", "")
    assert run("verify")[0] == 0
    assert run("rm", "--all")[0] == 0, "nothing to ask about"


def test_ls(filled, run):
    code, output, _ = run("ls")
    lines = output.splitlines()
    assert code == 0
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["model", "acme/other"],
        ["model", "acme/tiny"],
        ["model", "acme/tiny"],
        ["program", "abc123"],
    ]
    assert f"hf main {COMMIT[:8]}, 9 files" in lines[1]
    assert "paddlenlp default, 9 files" in lines[3]
    assert "UNet2DModel, 2x3x16x16" in lines[4]
    assert lines[-1].startswith("4 entries, ")


def test_ls_shows_unfinished_and_damaged_models(filled, run, hub_of, folder):
    hub = hub_of("hf", folder, "acme/broken")
    hub.behave.cut = {WEIGHTS: [1 << 15, *[0] * 9]}
    assert main(["download", "acme/broken", "--quiet", "--source", "hf"]) == 1
    (cache_root() / "hf/acme--other/main" / MANIFEST).write_text("{")
    output = run("ls")[1]
    assert "32.8 KB of unfinished files" in output
    assert "manifest of this folder is damaged" in output
    assert run("rm", "acme/broken", "acme/other")[0] == 0
    assert models() == {"hf/acme--tiny/main", "paddlenlp/acme--tiny/default"}


def test_rm(filled, run):
    code, output, _ = run("rm", "acme/tiny", "--source", "hf")
    assert (code, models()) == (0, {"hf/acme--other/main", "paddlenlp/acme--tiny/default"})
    assert output.startswith("Removed 1 models (") and output.endswith(", 0 programs\n")
    assert run("rm", "acme/tiny", "abc123")[0] == 0
    assert models() == {"hf/acme--other/main"}
    assert not list_programs()
    assert not (cache_root() / "paddlenlp").exists(), "empty folders are removed too"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("acme/tiny", "acme/none", "xyz"), "- acme/none\n  - xyz"),
        (("acme/tiny", "--revision", "v2"), "- acme/tiny"),
        ((), "Pass names or --all"),
        (("acme/tiny", "--all"), "Pass names or --all"),
        (("../..",), "not in the cache"),
    ],
)
def test_rm_of_unknown_names_removes_nothing(filled, run, arguments, error):
    before = models()
    code, _, errors = run("rm", *arguments)
    assert code == 1 and error in errors
    assert models() == before and list_programs()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rm_all_lists_and_asks(filled, run, monkeypatch):
    before, table = models(), run("ls")[1]
    code, output, errors = run("rm", "--all")
    assert code == 1 and output == table and "--yes" in errors, "there is no terminal"
    for answer in ("\n", "n\n", "", "maybe\n"):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        code, output, errors = run("rm", "--all")
        assert (code, errors) == (1, "") and output.startswith(table) and "[y/N]" in output
        assert models() == before and list_programs()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    code, output, _ = run("rm", "--all")
    assert code == 0 and output.startswith(table) and "Removed 3 models" in output
    assert not models() and not list_programs()


def test_rm_all_yes(filled, run):
    (cache_root().parent / "programs" / ".abc.12345678.part").mkdir()
    code, output, _ = run("rm", "--all", "--yes")
    assert code == 0 and "unfinished" in output
    assert not models() and not list_programs()
    assert os.listdir(cache_root().parent / "programs") == [".locks"]


@pytest.mark.parametrize("arguments", [("--all", "--yes"), ("acme/tiny", "abc123")])
def test_rm_keeps_what_a_process_uses(filled, run, arguments):
    reading, downloading = (cache_root() / hub / "acme--tiny" for hub in ("hf", "paddlenlp"))
    program = cache_root().parent / "programs" / "abc123"
    before = [tree(place) for place in (reading, downloading, program)]
    with in_use(reading / "main"), locked(downloading / "default"), in_use(program):
        code, output, errors = run("rm", *arguments)
    assert code == 1 and "Removed" in output
    assert [tree(place) for place in (reading, downloading, program)] == before
    assert "3 entries were kept" in errors and "uses it" in errors and "downloads it" in errors
    assert run("rm", *arguments)[0] == 0
    assert not reading.exists() and not program.exists()


def test_rm_keeps_a_program_that_is_written_or_loaded(run):
    layer = paddle.nn.Linear(2, 3)

    def write(place):
        write_weights(layer, place)
        assert run("rm", "--all", "--yes")[0] == 1

    weights = WeightsFile(find_or_make("w1", "weights", write))
    assert run("rm", "w1")[0] == 1
    assert weights.hash() == WeightsFile(cache_root().parent / "programs" / "w1").hash()
    del weights
    assert run("rm", "w1")[0] == 0


def test_rm_keeps_a_model_that_is_loaded(run, monkeypatch):
    place = cache_root() / "hf" / "acme--toy" / "main"
    Toy().save_pretrained(place)
    Snapshot(place, "hf", "acme/toy", "main").save()
    load, codes = pretrained.load_checkpoint, []

    def during(*arguments):
        codes.append(run("rm", "--all", "--yes")[0])
        return load(*arguments)

    monkeypatch.setattr(pretrained, "load_checkpoint", during)
    Toy.from_pretrained(place)
    assert codes == [1] and place.exists()
    assert run("rm", "--all", "--yes")[0] == 0 and not place.exists()


def test_verify(filled, run):
    code, output, errors = run("verify")
    assert (code, errors) == (0, "")
    names = ("abc123", "acme/other (hf main)", "acme/tiny (hf main)", "acme/tiny (paddlenlp default)")
    assert sorted(output.splitlines()) == [f"{name}: intact" for name in names]


def test_verify_finds_damage(filled, run):
    place = cache_root() / "hf/acme--tiny/main"
    (place / WEIGHTS).write_bytes((place / WEIGHTS).read_bytes()[::-1])  # the same length
    (place / "tokenizer/vocab.json").unlink()
    (place / "model_index.json").write_text("{}")
    (program,) = (cache_root().parent / "programs").glob("abc123/program.json")
    program.write_bytes(b"y" * 1234)
    code, output, errors = run("verify")
    assert code == 1
    assert "acme/tiny (hf main): damaged" in output and "abc123: damaged" in output
    assert "acme/tiny (paddlenlp default): intact" in output and "acme/other (hf main): intact" in output
    for problem in (f"{WEIGHTS}: its content has changed", "tokenizer/vocab.json: missing", "2 bytes, expected 347"):
        assert problem in errors
    assert "abc123: program.json: its content has changed" in errors
    assert "what to do" in errors
    assert run("verify", "acme/tiny")[0] == 1
    assert run("verify", "acme/tiny", "--source", "paddlenlp")[0] == 0
    assert run("verify", "acme/other")[0] == 0
    assert run("verify", "abc123")[0] == 1
    assert run("verify", "acme/none")[0] == 1


def test_damaged_program_can_be_removed(filled, run):
    (program,) = (cache_root().parent / "programs").glob("abc123")
    (program / "entry.json").write_text("{")
    assert run("verify", "abc123")[0] == 1
    assert run("rm", "abc123")[0] == 0
    assert not program.exists()


def test_folder_without_a_manifest_cannot_be_verified(run, folder):
    code, _, errors = run("verify", str(folder))
    assert code == 1 and "no manifest" in errors


def test_chinese(filled, run, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_LANG", "zh")
    assert "9 个文件" in run("ls")[1]
    assert "acme/tiny (hf main): 完好" in run("verify")[1]
    assert run("rm", "acme/tiny")[1].startswith("已删除：2 个模型")


def test_cache_dir(filled, run, tmp_path):
    assert main(["download", "acme/other", "--quiet", "--source", "hf", "--cache_dir", str(tmp_path / "mine")]) == 0
    assert "acme/other" in run("ls", "--cache_dir", str(tmp_path / "mine"))[1]
    assert run("rm", "acme/other", "--cache_dir", str(tmp_path / "mine"))[0] == 0
    assert run("rm", "--all", "--yes", "--cache_dir", str(tmp_path / "mine"))[0] == 0
    assert "hf/acme--other/main" in models() and list_programs(), "the default cache is unchanged"
    assert not list(tmp_path.glob(f"mine/**/{PARTIAL}"))
