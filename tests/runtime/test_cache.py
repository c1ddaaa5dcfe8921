"""The cache of programs: each entry is written once, by one process at a time; damaged and stale ones are replaced."""

import importlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import paddle
import pytest

from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime import cache, compile
from tests.runtime.support import BACKENDS, program_cache, relative_distance, tiny_unet, unet_inputs

__all__ = ["program_cache"]
ROOT = Path(__file__).parents[2]


def writer(text: str, made: list[str] | None = None):
    """Return a function that writes an entry of one file and records that it was called."""

    def make(folder: Path) -> None:
        (folder / "data").write_text(text)
        if made is not None:
            made.append(text)

    return make


def compiled_result(backend: str, changes=lambda unet: None) -> paddle.Tensor:
    """Return what the program of a new tiny UNet computes."""
    unet = tiny_unet()
    changes(unet)
    compile(unet, backend=backend)
    with paddle.no_grad():
        unet(*unet_inputs())
        return unet(*unet_inputs()).sample


def test_an_entry_is_written_once(program_cache):
    made = []
    first = cache.find_or_make("a", "an entry", writer("text", made))
    assert cache.find_or_make("a", "an entry", writer("text", made)) == first
    assert made == ["text"] and (first / "data").read_text() == "text"
    assert cache.is_valid("a") and not cache.is_valid("b")
    assert [entry.about for entry in cache.list_programs()] == ["an entry"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "data").write_text("TEXT"),
        lambda folder: (folder / "data").write_text("tex"),
        lambda folder: (folder / "data").unlink(),
        lambda folder: (folder / cache.ENTRY).write_text("{"),
        lambda folder: (folder / cache.ENTRY).unlink(),
    ],
    ids=["other content", "truncated", "file missing", "description truncated", "description missing"],
)
def test_a_damaged_entry_is_reported_and_rewritten(damage, program_cache):
    folder = cache.find_or_make("a", "an entry", writer("text"))
    damage(folder)
    assert not cache.is_valid("a")
    assert list(cache.verify_programs()) == ["a"]
    made = []
    assert (cache.find_or_make("a", "an entry", writer("text", made)) / "data").read_text() == "text"
    assert made == ["text"] and cache.verify_programs() == {}


def test_damage_in_any_chunk_of_a_large_file_is_detected(program_cache, monkeypatch):
    monkeypatch.setattr(cache, "_CHUNK", 2 * cache._BLOCK)
    content = bytes(range(256)) * (5 * cache._BLOCK // 256) + b"end"  # two full chunks, and one of a block and 3 bytes
    folder = cache.find_or_make("a", "an entry", lambda folder: (folder / "data").write_bytes(content))
    assert cache.verify_programs() == {}
    for place in (0, cache._BLOCK, 2 * cache._BLOCK, 5 * cache._BLOCK - 1, len(content) - 1):
        (folder / "data").write_bytes(content[:place] + b"?" + content[place + 1 :])
        assert cache.verify_programs() == {"a": ["data: its content has changed"]}, place
    (folder / "data").write_bytes(content)
    assert cache.verify_programs() == {}


def test_an_interrupted_write_leaves_nothing(program_cache):
    def fails(folder):
        (folder / "data").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.find_or_make("a", "an entry", fails)
    assert not cache.is_valid("a") and cache.list_programs() == []
    assert [path.name for path in program_cache.iterdir() if path.name != ".locks"] == []


def test_the_limit_removes_the_least_recently_used_entries(program_cache, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_PROGRAM_CACHE_GB", str(3500 / 2**30))
    for age, name in enumerate("abc"):
        folder = cache.find_or_make(name, name, writer("x" * 1000))
        os.utime(folder / cache.ENTRY, (1e9 + age, 1e9 + age))
    cache.find_or_make("a", "a", writer("x"))  # used again
    cache.find_or_make("d", "d", writer("x" * 1000))
    assert {entry.name for entry in cache.list_programs()} == {"a", "c", "d"}


def test_the_newest_entry_is_kept_even_above_the_limit(program_cache, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_PROGRAM_CACHE_GB", "0")
    assert (cache.find_or_make("a", "a", writer("x" * 1000)) / "data").is_file()
    cache.find_or_make("b", "b", writer("x" * 1000))
    assert [entry.name for entry in cache.list_programs()] == ["b"]


def test_remove_programs(program_cache):
    assert cache.remove_programs([]) == ([], {})
    for name in "abc":
        cache.find_or_make(name, name, writer(name))
    with pytest.raises(InputError, match="nonsense"):
        cache.remove_programs(["a", "nonsense"])
    assert cache.remove_programs(["a"]) == (["a"], {})
    assert cache.remove_programs(["c", "b"]) == (["c", "b"], {})
    assert cache.list_programs() == []


def test_a_limit_that_is_not_a_number_is_rejected(program_cache, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_PROGRAM_CACHE_GB", "much")
    with pytest.raises(InputError, match="PPDIFFUSERS_PROGRAM_CACHE_GB.*much"):
        cache.size_limit()


def test_the_key_depends_on_every_part_and_on_the_code(monkeypatch):
    key = cache.content_key(weights="w", signature="f")
    assert key == cache.content_key(signature="f", weights="w")
    assert len({key, cache.content_key(weights="v", signature="f"), cache.content_key(weights="w", signature="g")}) == 3
    monkeypatch.setattr(cache, "code_hash", lambda: "other code")
    assert cache.content_key(weights="w", signature="f") != key


def test_the_source_hash_depends_on_the_module_of_a_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("first_network", "second_network"):
        (tmp_path / f"{name}.py").write_text(f"class Network:\n    name = {name!r}\n")
        importlib.import_module(name)
    first = cache.source_hash("first_network")
    assert first == cache.source_hash("first_network") != cache.source_hash("second_network")
    assert cache.source_hash("no file") != cache.source_hash("no file")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_new_network_with_the_same_weights_reuses_the_program(backend, program_cache, monkeypatch):
    wanted = compiled_result(backend)
    before = {entry.name for entry in cache.list_programs()}
    monkeypatch.setattr("ppdiffusers.runtime.program.trace", None)
    assert relative_distance(compiled_result(backend), wanted) <= 1e-6
    assert {entry.name for entry in cache.list_programs()} == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_programs_and_weights_are_rebuilt(backend, program_cache):
    wanted = compiled_result(backend)
    for path in program_cache.glob("*/*"):
        raw = bytearray(path.read_bytes())
        if path.name != cache.ENTRY and raw:
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
    assert len(cache.verify_programs()) == 2  # the program and the weights
    assert relative_distance(compiled_result(backend), wanted) <= 1e-6
    assert cache.verify_programs() == {}


def test_other_weights_have_separate_programs(program_cache):
    def change(unet):
        unet.conv_out.bias.set_value(unet.conv_out.bias + 1)

    first, second = compiled_result("onednn"), compiled_result("onednn", change)
    assert relative_distance(first + 1, second) <= 1e-4
    assert relative_distance(compiled_result("onednn"), first) <= 1e-6


def test_two_processes_compile_concurrently(program_cache):
    """Both results are correct, and each entry was written once or twice with equal content."""
    code = textwrap.dedent(
        """
        import numpy as np, paddle, sys
        from ppdiffusers.runtime import compile
        from tests.runtime.support import tiny_unet, unet_inputs
        unet = tiny_unet()
        with paddle.no_grad():
            wanted = unet(*unet_inputs()).sample
            compile(unet, backend="onednn")
            for _ in range(2):
                found = unet(*unet_inputs()).sample
                assert float((found - wanted).abs().max() / wanted.abs().max()) <= 1e-4
        assert unet.forward._programs
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        assert process.wait(timeout=240) == 0, process.stderr.read()
    assert cache.verify_programs() == {}
    kinds = sorted(path.name.partition("-")[0] for path in program_cache.iterdir() if path.name[0] != ".")
    assert kinds == ["program", "verified", "weights"]
    assert not [path for path in program_cache.iterdir() if path.name.endswith(".part")]


def test_weights_are_in_memory_once(program_cache):
    """The weights of a compiled network are views of the mapped file in the cache."""
    unet = tiny_unet()
    compile(unet, backend="onednn")
    with paddle.no_grad():
        unet(*unet_inputs())
    (weights,) = program_cache.glob("weights-*/weights.bin")
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(weights)):
            start, end = line.split()[0].split("-")
            ranges.append((int(start, 16), int(end, 16)))
    table = json.loads((weights.parent / "weights.json").read_text())
    for name, parameter in unet.named_parameters():
        assert any(start <= parameter.data_ptr() < end for start, end in ranges), name
        assert name in table


FULL_DISK = """
import resource
import paddle
from ppdiffusers.runtime import compile
from ppdiffusers.runtime.verify import distance
from tests.runtime.support import tiny_unet, unet_inputs
unet = tiny_unet()
with paddle.no_grad():
    expected = unet(*unet_inputs()).sample
    if {weights_exist}:
        compile(unet, backend="openvino")
        unet(*unet_inputs(batch=1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # writing beyond that fails
    compile(unet, backend={backend!r})
    print(max(distance(unet(*unet_inputs()).sample, expected) for _ in range(2)))
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights_exist", [False, True], ids=["weights", "program"])
def test_a_full_disk_leads_to_eager_mode(backend, weights_exist, program_cache):
    code = FULL_DISK.format(backend=backend, weights_exist=weights_exist)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 1e-5
    assert done.stderr.count("runs in eager mode") == 1, "one warning, not one at each call"
    assert not list(program_cache.rglob("*.part")), "incomplete files are removed"
