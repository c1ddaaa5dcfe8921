"""Weights files that ask for much more work or memory than their size: refused before the work."""

import json
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import open_weights, write_pdparams
from tests.fuzz.pickles import PROTO
from tests.fuzz.process import OURS, run_cases, table


def refused(tmp_path, make) -> str:
    """Return the message with which the file that `make(folder)` returns is refused, with 20 seconds and 4 GB."""
    path = make(tmp_path)
    started = time.monotonic()
    outcomes = list(run_cases(["file#0"], lambda case, folder: read(path), tmp_path))
    assert [outcome.kind for outcome in outcomes] == [OURS], table(outcomes, started)
    return outcomes[0].detail


def read(path) -> dict:
    return {name: tensor.read() for name, tensor in open_weights(path).items()}


# -- safetensors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [150_000, 800_000])
def test_safetensors_with_very_many_empty_tensors(tmp_path, count):
    def make(folder):
        entries = b",".join(b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n for n in range(count))
        (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(entries) + 2) + b"{" + entries + b"}")
        return folder / "a.safetensors"

    assert ("its header has" if count > 500_000 else "150000 tensors, expected at most 100000") in refused(
        tmp_path, make
    )


@pytest.mark.parametrize("shape", [[0, 2**61], [2**61, 0, 2**61], [2**61, 2**61, 0], [0] * 60])
def test_safetensors_without_elements_and_with_huge_sides(tmp_path, shape):
    def make(folder):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
        (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        return folder / "a.safetensors"

    assert "cannot be read" in refused(tmp_path, make)


# -- indices --------------------------------------------------------------------------------------------------------


def write_index(folder, weight_map, name="a.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"weight_map": weight_map}))
    return folder / name


def test_an_index_that_names_itself_or_another_index(tmp_path):
    other = write_index(tmp_path, {"a": "a.safetensors.index.json"}, "b.safetensors.index.json")
    for name in ("a.safetensors.index.json", other.name):
        message = refused(tmp_path, lambda folder, name=name: write_index(folder, {"a": name}))
        assert "not weights" in message and name in message


def test_an_index_of_very_many_names(tmp_path):
    message = refused(tmp_path, lambda folder: write_index(folder, {f"{n:x}": f"{n:x}.bin" for n in range(500_000)}))
    assert "at most 100000 names" in message


# -- .pdparams: parts of split tensors ------------------------------------------------------------------------------


def write_splits(path, splits: bytes) -> None:
    """Write two arrays of one element, `p` and `q`, and a table of split tensors."""
    write_pdparams(path, {name: LazyTensor.of(np.ones(1, np.float32)) for name in "pq"})
    path.write_bytes(path.read_bytes()[:-1] + b"X\x15\0\0\0UnpackBigParamInfor@@" + splits + b"s.")


def entry(parts: bytes, shape: bytes = b"K\x02\x85") -> bytes:
    return b"}(X\x06\0\0\0slices" + parts + b"X\x0b\0\0\0OriginShape" + shape + b"u"


P, Q = b"X\x01\0\0\0p", b"X\x01\0\0\0q"
SPLITS = {
    "a part given twice": b"}X\x01\0\0\0w" + entry(b"](" + P + P + b"e") + b"s",
    "a part of two tensors": b"}(X\x01\0\0\0w"
    + entry(b"](" + P + Q + b"e")
    + b"X\x01\0\0\0v"
    + entry(b"](" + P + Q + b"e")
    + b"u",
    "parts that are numbers": b"}X\x01\0\0\0w" + entry(b"](K\x01K\x02e") + b"s",
    "parts that are a string": b"}X\x01\0\0\0w" + entry(P) + b"s",
    "parts that are missing": b"}X\x01\0\0\0w" + entry(b"](" + P + b"X\x01\0\0\0re") + b"s",
    "no parts": b"}X\x01\0\0\0w" + entry(b"]", b"K\x00\x85") + b"s",
    "a wrong shape": b"}X\x01\0\0\0w" + entry(b"](" + P + Q + b"e", b"K\x03\x85") + b"s",
    "a shape of strings": b"}X\x01\0\0\0w" + entry(b"](" + P + Q + b"e", P + b"\x85") + b"s",
    "a negative shape": b"}X\x01\0\0\0w"
    + entry(b"](" + P + Q + b"e", b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86")
    + b"s",
    "a shape that is a number": b"}X\x01\0\0\0w" + entry(b"](" + P + Q + b"e", b"K\x02") + b"s",
    "a tensor with a number as its name": b"}K\x01" + entry(b"](" + P + Q + b"e") + b"s",
    "the name of another tensor": b"}X\x01\0\0\0p" + entry(b"](" + P + Q + b"e") + b"s",
    "an entry that is a list": b"}X\x01\0\0\0w]s",
    "a table that is a list": b"]",
}


def test_split_parts(tmp_path):
    write_splits(tmp_path / "a.pdparams", b"}X\x01\0\0\0w" + entry(b"](" + P + Q + b"e") + b"s")
    assert {name: array.tolist() for name, array in read(tmp_path / "a.pdparams").items()} == {"w": [1, 1]}


@pytest.mark.parametrize("case", SPLITS)
def test_wrong_split_parts_are_refused(tmp_path, case):
    write_splits(tmp_path / "a.pdparams", SPLITS[case])
    with pytest.raises(WeightsError, match="more than named tensors"):
        open_weights(tmp_path / "a.pdparams")


# -- zip archives ---------------------------------------------------------------------------------------------------


def rewrite(source, target, change=lambda name, data: data, compression=zipfile.ZIP_STORED, repeated=()) -> None:
    """Copy an archive with other contents or compression, and some entries twice."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in [*old.namelist(), *(name for name in old.namelist() if name.endswith(repeated))]:
            with pytest.warns(UserWarning) if name in new.namelist() else open("/dev/null"):
                new.writestr(zipfile.ZipInfo(name), change(name, old.read(name)), compression)


@pytest.mark.parametrize("entry", ["data.pkl", "data/0", "version", "byteorder"])
def test_two_entries_of_one_name_are_refused(tmp_path, entry):
    torch.save({"w": torch.arange(6.0)}, tmp_path / "a.bin")
    rewrite(tmp_path / "a.bin", tmp_path / "b.bin", repeated=(entry,))
    with pytest.raises(WeightsError, match="several of one name"):
        open_weights(tmp_path / "b.bin")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_checksums_of_entries(tmp_path, compression):
    """A changed bit is found in whole and in partial views of a storage, and in the pickle."""
    values = torch.arange(100.0)
    torch.save({"whole": values, "part": values[40:42], "other": torch.ones(5)}, tmp_path / "a.bin")
    rewrite(tmp_path / "a.bin", tmp_path / "b.bin", compression=compression)
    expected = read(tmp_path / "b.bin")
    assert expected["part"].tolist() == [40, 41]
    with zipfile.ZipFile(tmp_path / "b.bin") as archive:
        infos = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    content = (tmp_path / "b.bin").read_bytes()
    for name, message in (("data/0", "data/0"), ("data.pkl", "data.pkl|damaged")):
        changed = bytearray(content)
        changed[infos[name].header_offset + 30 + len(infos[name].filename) + infos[name].compress_size // 2] ^= 4
        (tmp_path / "c.bin").write_bytes(changed)
        with pytest.raises(WeightsError, match=message):
            open_weights(tmp_path / "c.bin")["part"].read()
    assert open_weights(tmp_path / "b.bin")["other"].read().tolist() == [1] * 5


def test_archives_without_checksums_load(tmp_path):
    """`torch.serialization.set_crc32_options(False)` writes zeros."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(6.0)}, tmp_path / "a.bin")
    finally:
        torch.serialization.set_crc32_options(before)
    assert zipfile.ZipFile(tmp_path / "a.bin").infolist()[0].CRC == 0
    assert read(tmp_path / "a.bin")["w"].tolist() == list(range(6))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, compression):
    torch.save({"w": torch.arange(6.0)}, tmp_path / "a.bin")
    rewrite(tmp_path / "a.bin", tmp_path / "b.bin", compression=compression)
    with pytest.raises(WeightsError, match="another method than deflate"):
        open_weights(tmp_path / "b.bin")


# -- inflation ------------------------------------------------------------------------------------------------------


def zeros_in_zip(folder, size: int, views: int):
    """Write a compressed storage of `size` zero bytes, and views of one element of it."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuJ" + struct.pack("<i", size // 4) + b"tQ"
    view = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\1\x85K\1\x85\x89NtR"
    pickled = PROTO + b"}(" + b"".join(b"X\5\0\0\0%05d" % n + view for n in range(views)) + b"u."
    with zipfile.ZipFile(folder / "a.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", bytes(size))
    return folder / "a.bin"


def test_a_pickle_that_inflates_a_thousandfold(tmp_path):
    def make(folder, count=40_000_000):
        with zipfile.ZipFile(folder / "a.bin", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", PROTO + b"N0" * count + b"N.")
        assert (folder / "a.bin").stat().st_size < count / 500
        return folder / "a.bin"

    assert "more objects than any checkpoint needs" in refused(tmp_path, make)
    assert "declared with 300000004 bytes" in refused(tmp_path, lambda folder: make(folder, 150_000_000))


def test_an_entry_that_is_inflated_for_each_of_two_thousand_views(tmp_path):
    assert "would inflate" in refused(tmp_path, lambda folder: zeros_in_zip(folder, 8 << 20, 2000))


def test_an_entry_that_inflates_a_thousandfold(tmp_path):
    assert "would inflate" in refused(tmp_path, lambda folder: zeros_in_zip(folder, 300 << 20, 1))


def test_a_compressed_checkpoint_loads(tmp_path):
    assert len(read(zeros_in_zip(tmp_path, 4 << 20, 3))) == 3


def test_a_list_of_entries_that_is_too_long(tmp_path):
    """The end of the archive declares it; nothing else of it is read."""
    torch.save({"w": torch.zeros(1)}, tmp_path / "a.bin")
    content = bytearray((tmp_path / "a.bin").read_bytes())
    end = content.rfind(b"PK\5\6")
    content[end + 12 : end + 16] = struct.pack("<I", 2**31)
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(WeightsError, match="the list of its entries has 2147483648 bytes"):
        open_weights(tmp_path / "a.bin")
