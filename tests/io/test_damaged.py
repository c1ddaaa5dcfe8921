"""Damaged, hostile and wrong files raise our errors: no other exceptions, no hangs, and no code is run."""

import io
import json
import os
import pickle
import pickletools
import resource
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import PPDiffusersError, SourceError, UnsafeFileError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import open_weights, write_pdparams, write_safetensors


def safetensors_bytes(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def entry(begin: int, end: int, shape: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BAD_SAFETENSORS = {
    "header longer than the file": (struct.pack("<Q", 10**6) + b"{}", "header"),
    "huge header length": (b"\xff" * 20, "header too large"),
    "three bytes": (b"abc", "header too small"),
    "not JSON": (safetensors_bytes(b"{nonsense"), "invalid JSON"),
    "not UTF-8": (safetensors_bytes(b"\xff\xfe{}"), "UTF-8"),
    "deeply nested": (safetensors_bytes(b"[" * 100_000), "invalid JSON"),
    "deeply nested in an entry": (safetensors_bytes(b'{"a":' + b"[" * 100_000), "invalid JSON"),
    "a list": (safetensors_bytes([1]), "header"),
    "twice": (safetensors_bytes(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'), "missing field"),
    "twice, other data": (
        safetensors_bytes({"a": entry(0, 4, [1]), "b": entry(4, 8, [1])}, b"12345678").replace(b'"b"', b'"a"'),
        "invalid offset",
    ),
    "truncated": (safetensors_bytes({"a": entry(0, 8, [2])}, b"1234"), "file not fully covered"),
    "trailing data": (safetensors_bytes({"a": entry(0, 4, [1])}, b"12345678"), "file not fully covered"),
    "overlap": (
        safetensors_bytes({"a": entry(0, 8, [2]), "b": entry(4, 8, [1])}, b"12345678"),
        "invalid offset for tensor `b`",
    ),
    "gap": (
        safetensors_bytes({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, b"1" * 12),
        "invalid offset for tensor `b`",
    ),
    "size": (safetensors_bytes({"a": entry(0, 4, [2])}, b"1234"), "invalid shape, data type, or offset"),
    "dtype": (safetensors_bytes({"a": entry(0, 4, [4], "X9")}, b"1234"), "X9"),
    "shape": (safetensors_bytes({"a": entry(0, 4, [-1])}, b"1234"), "integer `-1`"),
    "huge shape": (safetensors_bytes({"a": entry(0, 4, [2**61, 2**61])}, b"1234"), "overflow"),
    "huge empty shape": (safetensors_bytes({"a": entry(0, 0, [0, 2**61])}), "no array can have the shape"),
    "float shape": (safetensors_bytes({"a": entry(0, 4, [1.0])}, b"1234"), "floating point `1.0`"),
    "many axes": (safetensors_bytes({"a": entry(0, 4, [1] * 100)}, b"1234"), "no array can have the shape"),
    "no entry": (safetensors_bytes({"a": 3}), "integer `3`"),
    "metadata": (safetensors_bytes({"__metadata__": 3}), "expected a map"),
    "metadata values": (safetensors_bytes({"__metadata__": {"a": 3}}), "expected a string"),
}


@pytest.mark.parametrize("case", BAD_SAFETENSORS)
def test_bad_safetensors(tmp_path, case):
    content, message = BAD_SAFETENSORS[case]
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        open_weights(tmp_path / "a.safetensors")
    assert "a.safetensors" in str(caught.value)
    assert "what to do" in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pdparams", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n", "Git LFS"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n <html>", "web page"),
        (b"hello world, these are not weights", "damaged|cannot be read"),
    ],
)
def test_files_that_are_not_weights(tmp_path, suffix, content, message):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        open_weights(tmp_path / f"a{suffix}")


def test_unknown_format_and_missing_file(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(SourceError, match="safetensors"):
        open_weights(tmp_path / "a.h5")
    with pytest.raises(SourceError, match="weights file does not exist"):
        open_weights(tmp_path / "b.bin")


# -- indices --------------------------------------------------------------------------------------------------


def write_index(folder, weight_map) -> object:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    return path


def test_missing_shards_are_all_named(tmp_path):
    with pytest.raises(WeightsError) as caught:
        open_weights(write_index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}))
    assert caught.value.problems == ["1.safetensors", "2.safetensors"]


@pytest.mark.parametrize("name", ["../a.bin", "/etc/passwd", "x/../a.bin", "..", "sub/a.bin", "C:\\a.bin", "a\\b", ""])
def test_an_index_cannot_name_files_outside_its_folder(tmp_path, name):
    with pytest.raises(UnsafeFileError) as caught:
        open_weights(write_index(tmp_path, {"a": name, "b": "fine.safetensors"}))
    assert caught.value.problems == [name]


def test_a_tensor_that_is_missing_in_its_shard(tmp_path):
    write_safetensors(tmp_path / "1.safetensors", {"a": LazyTensor.of(np.zeros(1))})
    with pytest.raises(WeightsError, match="lost in 1.safetensors"):
        open_weights(write_index(tmp_path, {"a": "1.safetensors", "lost": "1.safetensors"}))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', "{bad"])
def test_broken_index(tmp_path, content):
    (tmp_path / "x.index.json").write_text(content)
    with pytest.raises(WeightsError, match="index"):
        open_weights(tmp_path / "x.index.json")


# -- pickles that name code to run ----------------------------------------------------------------------------


class Runs:
    """An object whose unpickling would create a file."""

    def __init__(self, path):
        self.command = f"touch {path}"

    def __reduce__(self):
        return os.system, (self.command,)


class Evaluates:
    def __reduce__(self):
        return eval, ("__import__('os').getcwd()",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("suffix", [".pdparams", ".bin"])
def test_plain_pickle_never_runs_code(tmp_path, suffix, protocol):
    (tmp_path / f"a{suffix}").write_bytes(pickle.dumps({"w": Runs(tmp_path / "ran")}, protocol=protocol))
    with pytest.raises(UnsafeFileError, match="system"):
        open_weights(tmp_path / f"a{suffix}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_checkpoint_never_runs_code(tmp_path, zipped):
    content = OrderedDict(w=torch.zeros(2), x=Runs(tmp_path / "ran"), y=Evaluates())
    torch.save(content, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError) as caught:
        open_weights(tmp_path / "a.bin")
    assert {problem.rpartition(".")[2] for problem in caught.value.problems} == {"eval", "system"}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("function", ["getattr", "exec", "__import__", "open", "compile", "object"])
def test_dangerous_builtins_are_refused(tmp_path, function):
    for module in ("builtins", "__builtin__"):
        raw = b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"X\x01\x00\x00\x00a\x85R."
        for suffix in (".bin", ".pdparams"):
            (tmp_path / f"a{suffix}").write_bytes(raw)
            with pytest.raises(UnsafeFileError, match=function):
                open_weights(tmp_path / f"a{suffix}")


def test_stack_global_inst_and_newobj_are_refused_too(tmp_path):
    programs = [
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
        b"(S'ls'\nios\nsystem\n.",
        b"(cos\nsystem\nS'ls'\no.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"\x80\x04cos\nsystem\n)}\x92.",
        b"\x80\x02]cos\nsystem\n}b.",
    ]
    for program in programs:
        (tmp_path / "a.bin").write_bytes(program)
        with pytest.raises(UnsafeFileError, match="os.system"):
            open_weights(tmp_path / "a.bin")


def test_huge_lengths_allocate_no_memory(tmp_path):
    """Lengths and indices that are larger than the file are errors."""
    programs = [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60),
        b"\x80\x04\x8d" + struct.pack("<Q", 2**60),
        b"\x80\x04\x96" + struct.pack("<Q", 2**62),
        b"\x80\x02B" + struct.pack("<I", 2**32 - 1),
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1),
        b"\x80\x02\x8b" + struct.pack("<i", -5),
        b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".",
        b"\x80\x02j" + struct.pack("<I", 2**32 - 1) + b".",
        b"T" + struct.pack("<i", -1),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for program in programs:
        for suffix in (".bin", ".pdparams"):
            (tmp_path / f"a{suffix}").write_bytes(program)
            with pytest.raises(WeightsError):
                open_weights(tmp_path / f"a{suffix}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_exponentially_nested_tuples(tmp_path):
    """Forty pairs, each of the previous pair twice: 2**40 leaves to hash or to print."""
    bomb = b"K\x00" + b"2\x86" * 40
    for program in (b"}" + bomb + b"K\x01s.", b"\x8f(" + bomb + b"\x90.", bomb + b")R.", bomb + b"Q.", bomb + b"."):
        for suffix in (".bin", ".pdparams"):
            (tmp_path / f"a{suffix}").write_bytes(program)
            read_everything(tmp_path / f"a{suffix}")


def rewrite_pickle(source, target, change) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith("data.pkl") else data)


def test_views_must_fit_their_storage(tmp_path):
    torch.save({"w": torch.zeros(7, 3)}, tmp_path / "a.bin")
    for old, new in ((b"K\x07K\x03\x86", b"K\xf7K\x03\x86"), (b"K\x03K\x01\x86", b"K\xffK\x01\x86")):
        rewrite_pickle(tmp_path / "a.bin", tmp_path / "b.bin", lambda data, old=old, new=new: data.replace(old, new))
        with pytest.raises(WeightsError, match="w needs"):
            open_weights(tmp_path / "b.bin")


def test_expansion_has_a_limit(tmp_path):
    torch.save({"w": torch.zeros(1).expand(2**30, 2**20)}, tmp_path / "a.bin")
    with pytest.raises(WeightsError, match="expanded"):
        open_weights(tmp_path / "a.bin")


def test_no_tensors_at_all(tmp_path):
    torch.save({"a": 3}, tmp_path / "a.bin")
    with pytest.raises(WeightsError, match="no named tensors"):
        open_weights(tmp_path / "a.bin")
    torch.save([torch.zeros(1)], tmp_path / "a.bin")
    with pytest.raises(WeightsError, match="not contain a dictionary"):
        open_weights(tmp_path / "a.bin")


# -- fuzzing --------------------------------------------------------------------------------------------------


def samples(folder) -> dict[str, bytes]:
    arrays = {"first.weight": np.arange(600, dtype="float32").reshape(20, 30), "bias": np.ones(3, "float16")}
    lazy = {name: LazyTensor.of(array) for name, array in arrays.items()}
    write_safetensors(folder / "s.safetensors", lazy, {"format": "pt"})
    write_pdparams(folder / "ours.pdparams", lazy)
    for protocol in (2, 4):
        tensors = {name: paddle.to_tensor(array) for name, array in arrays.items()}
        paddle.save(tensors, str(folder / f"paddle{protocol}.pdparams"), protocol=protocol)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"state_dict": tensors, "x": [np.float64(1), {1, 2}]}, folder / "zip.bin")
    torch.save(tensors, folder / "plain.bin", _use_new_zipfile_serialization=False)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_everything(path) -> None:
    """Open a file and read all tensors; only our errors may occur."""
    try:
        for tensor in open_weights(path).values():
            tensor.read()
    except PPDiffusersError:
        pass


KINDS = ["s.safetensors", "ours.pdparams", "paddle2.pdparams", "paddle4.pdparams", "zip.bin", "plain.bin"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(tmp_path, kind):
    content = samples(tmp_path)[kind]
    target = tmp_path / f"cut-{kind}"
    for length in sorted({*range(1, min(300, len(content))), *range(300, len(content), 37), len(content) - 1}):
        target.write_bytes(content[:length])
        with pytest.raises(PPDiffusersError):
            for tensor in open_weights(target).values():
                tensor.read()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_changed(tmp_path, kind, seed):
    content = samples(tmp_path)[kind]
    rng = np.random.default_rng(seed)
    target = tmp_path / f"changed-{kind}"
    # Most changes are in the structure: the beginning, and the end of an archive.
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            near = rng.choice([400, len(content)])
            at = int(rng.integers(0, min(near, len(content))))
            at = len(content) - 1 - at if rng.random() < 0.3 else at
            changed[at] = int(rng.integers(0, 256))
        target.write_bytes(changed)
        read_everything(target)


def test_random_opcodes(tmp_path):
    """Pickles of random opcodes are read or raise our errors."""
    codes = [op.code.encode("latin1") for op in pickletools.opcodes]
    rng = np.random.default_rng(0)
    for _ in range(600):
        buffer = io.BytesIO()
        buffer.write(b"\x80\x02")
        for _ in range(rng.integers(1, 40)):
            buffer.write(codes[rng.integers(len(codes))])
            if rng.random() < 0.3:
                buffer.write(rng.bytes(int(rng.integers(0, 9))))
        buffer.write(b".")
        (tmp_path / "a.pdparams").write_bytes(buffer.getvalue())
        (tmp_path / "a.bin").write_bytes(buffer.getvalue())
        read_everything(tmp_path / "a.pdparams")
        read_everything(tmp_path / "a.bin")
