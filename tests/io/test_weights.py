"""Files of every format, written by their libraries, have the same names, shapes, dtypes and bits."""

import json
import os
import pickle
import sys
import time
import types
import typing
from collections import OrderedDict, defaultdict

import numpy as np
import paddle
import pytest
import safetensors.torch
import torch

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.files import replace_file
from ppdiffusers.core.tensors import STORAGE_DTYPES, LazyTensor
from ppdiffusers.io.checked_file import CheckedFile
from ppdiffusers.io.weights import open_weights, write_pdparams, write_safetensors

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
SHAPES = [(), (1,), (0,), (3, 0), (1, 1), (2, 3), (40, 50)]


def bits(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    return tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def random_array(dtype: str, shape: tuple, seed: int = 0) -> np.ndarray:
    """Return random bit patterns, including NaNs."""
    storage = STORAGE_DTYPES[dtype]
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    count = int(np.prod(shape, dtype=int))
    return np.frombuffer(rng.bytes(count * storage.itemsize), storage).reshape(shape)


def one_of_each() -> dict[str, LazyTensor]:
    return {
        f"{dtype}.{n}": LazyTensor.of(random_array(dtype, shape, n), dtype)
        for dtype in DTYPES
        for n, shape in enumerate(SHAPES)
    }


def torch_tensors() -> OrderedDict:
    base = torch.arange(200, dtype=torch.float32)
    parameter = torch.nn.Parameter(torch.randn(3, 4))
    return OrderedDict(
        parameter=parameter,
        again=parameter,
        transposed=torch.randn(5, 6).t(),
        permuted=torch.randn(2, 3, 4).permute(2, 0, 1),
        head=base[:10],
        middle=base[10:20],
        stepped=base[15:40:2],
        window=base[100:136].reshape(6, 6)[1:4, 2:5],
        expanded=torch.ones(1).expand(3, 4),
        scalar=torch.tensor(3.5),
        one=torch.ones(1, 1),
        empty=torch.zeros(0, 3),
        boolean=torch.tensor([True, False]),
        byte=torch.tensor([1, 255], dtype=torch.uint8),
        char=torch.tensor([-1, 2], dtype=torch.int8),
        short=torch.tensor([-300], dtype=torch.int16),
        int=torch.tensor([2**30], dtype=torch.int32),
        long=torch.tensor([2**40]),
        half=torch.randn(7).half(),
        bfloat=torch.randn(3, 7).bfloat16(),
        double=torch.randn(2, dtype=torch.float64),
    )


def assert_equals_torch(checkpoint, tensors) -> None:
    assert set(checkpoint) == set(tensors)
    for name, tensor in tensors.items():
        array = checkpoint[name].read()
        assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("torch.")
        assert checkpoint[name].shape == array.shape == tuple(tensor.shape)
        assert np.array_equal(array, bits(tensor)), name


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth"])
def test_torch_pickles(tmp_path, zipped, suffix):
    tensors = torch_tensors()
    torch.save(tensors, tmp_path / f"a{suffix}", _use_new_zipfile_serialization=zipped)
    checkpoint = open_weights(tmp_path / f"a{suffix}")
    assert checkpoint.framework == "pytorch"
    assert_equals_torch(checkpoint, tensors)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_pickles_of_every_protocol(tmp_path, zipped, protocol):
    tensors = torch_tensors()
    torch.save(tensors, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert_equals_torch(open_weights(tmp_path / "a.bin"), tensors)


@pytest.mark.parametrize("zipped", [True, False])
def test_module_state_dict_and_lightning_extras(tmp_path, zipped):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    extras = {
        "state_dict": module.state_dict(),
        "optimizer": torch.optim.Adam(module.parameters()).state_dict(),
        "epoch": 3,
        "numpy": [np.float64(2.5), np.int64(3), np.arange(4), np.bool_(True), np.dtype("float32")],
        "types": [torch.float16, torch.Size([1, 2]), torch.device("cpu"), {1, 2}, 1 + 2j, 2**100, b"bytes", "文字"],
        "default": defaultdict(list, a=[1]),
        "long text": "a" * 5000,
    }
    torch.save(extras, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    assert_equals_torch(open_weights(tmp_path / "a.ckpt"), module.state_dict())


@pytest.mark.parametrize("zipped", [True, False])
def test_all_tensors_of_a_training_checkpoint(tmp_path, zipped):
    weights = {"module.a.weight": torch.randn(2, 3), "module.b": torch.randn(4)}
    averages = [torch.randn(2, 3), torch.randn(4)]
    saved = {"model": weights, "ema": {"decay": 0.9, "shadow_params": averages}, "step": 3}
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    expected = {f"model.{name}": tensor for name, tensor in weights.items()}
    expected |= {f"ema.shadow_params.{n}": tensor for n, tensor in enumerate(averages)}
    found = open_weights(tmp_path / "a.pth", nested=True)
    assert list(found) == list(expected)
    assert_equals_torch(found, expected)

    torch.save([weights, averages], tmp_path / "list.ckpt", _use_new_zipfile_serialization=zipped)
    assert list(open_weights(tmp_path / "list.ckpt", nested=True)) == ["0.module.a.weight", "0.module.b", "1.0", "1.1"]


def test_nested_lists_are_entered_once(tmp_path):
    loop = [torch.ones(1)]
    loop.append(loop)
    doubled = [torch.zeros(1)]
    for _ in range(60):
        doubled = [doubled, doubled]
    torch.save({"loop": loop, "doubled": doubled}, tmp_path / "a.pt")
    assert len(open_weights(tmp_path / "a.pt", nested=True)) == 2


def test_settings_in_checkpoints_of_lightning(tmp_path, monkeypatch):
    """Lightning and omegaconf are not installed: the test defines classes of these names."""
    named = {"pytorch_lightning.callbacks.model_checkpoint": "ModelCheckpoint", "omegaconf.dictconfig": "DictConfig"}
    made = {}
    for module_name, name in named.items():
        made[name] = type(name, (), {"__module__": module_name})
        parts = module_name.split(".")
        for end in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        setattr(sys.modules[module_name], name, made[name])
    config = made["DictConfig"]()
    config.content = {"lr": 1e-4, "type": typing.Any}
    weights = {"w": torch.randn(3)}
    saved = {"state_dict": weights, "callbacks": {made["ModelCheckpoint"]: {"best": 0.5}}, "hyper_parameters": config}
    torch.save(saved, tmp_path / "a.ckpt")
    assert_equals_torch(open_weights(tmp_path / "a.ckpt"), weights)
    assert_equals_torch(open_weights(tmp_path / "a.ckpt", nested=True), {"state_dict.w": weights["w"]})


def test_zip_with_big_endian_data(tmp_path):
    import zipfile

    torch.save({"w": torch.arange(6).float().reshape(2, 3)}, tmp_path / "little.bin")
    with zipfile.ZipFile(tmp_path / "little.bin") as old, zipfile.ZipFile(tmp_path / "big.bin", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            new.writestr(name, data)
    assert np.array_equal(open_weights(tmp_path / "big.bin")["w"].read(), np.arange(6.0).reshape(2, 3))


def test_zip_with_compressed_entries(tmp_path):
    import zipfile

    torch.save({"w": torch.arange(600).float(), "v": torch.zeros(3)}, tmp_path / "a.bin")
    with (
        zipfile.ZipFile(tmp_path / "a.bin") as old,
        zipfile.ZipFile(tmp_path / "b.bin", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert np.array_equal(open_weights(tmp_path / "b.bin")["w"].read(), np.arange(600.0))


def test_checksum_of_a_zip_entry(tmp_path):
    torch.save({"w": torch.full((1000,), 1.5)}, tmp_path / "a.bin")
    raw = bytearray((tmp_path / "a.bin").read_bytes())
    at = raw.index(np.full(10, 1.5, "float32").tobytes())
    raw[at + 5] ^= 1
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(WeightsError, match="checksum"):
        open_weights(tmp_path / "a.bin")["w"].read()


def test_safetensors_of_torch(tmp_path):
    tensors = {k: v.detach().contiguous().clone() for k, v in torch_tensors().items()}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    checkpoint = open_weights(tmp_path / "a.safetensors")
    assert checkpoint.framework == "pytorch"
    assert_equals_torch(checkpoint, tensors)


def test_our_safetensors(tmp_path):
    tensors = one_of_each()
    write_safetensors(tmp_path / "a.safetensors", tensors, {"format": "pt", "note": "é中"})
    loaded = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert bits(loaded[name]).tobytes() == tensor.read().tobytes(), name
        assert tuple(loaded[name].shape) == tensor.shape
        assert str(loaded[name].dtype) == f"torch.{tensor.dtype}"
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "é中"}


def test_our_pdparams(tmp_path):
    tensors = one_of_each()
    write_pdparams(tmp_path / "a.pdparams", tensors)
    loaded = paddle.load(str(tmp_path / "a.pdparams"))
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert str(loaded[name].dtype) == f"paddle.{tensor.dtype}", name
        assert tuple(loaded[name].shape) == tensor.shape, name
        assert loaded[name].numpy().tobytes() == tensor.read().tobytes(), name


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("return_numpy", [True, False])
def test_pdparams_of_paddle(tmp_path, protocol, return_numpy):
    tensors = {name: paddle.to_tensor(t.read()) for name, t in one_of_each().items()}
    saved = {name: t.numpy() for name, t in tensors.items()} if return_numpy else tensors
    paddle.save(saved, str(tmp_path / "a.pdparams"), protocol=protocol)
    checkpoint = open_weights(tmp_path / "a.pdparams")
    assert checkpoint.framework == "paddle"
    assert set(checkpoint) == set(tensors)
    for name, tensor in tensors.items():
        array = checkpoint[name].read()
        assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("paddle.")
        assert checkpoint[name].shape == array.shape == tuple(tensor.shape)
        assert array.tobytes() == tensor.numpy().tobytes(), name


@pytest.mark.parametrize("protocol", [2, 4])
def test_pdparams_of_a_layer_with_its_name_table(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Linear(30, 40), paddle.nn.BatchNorm1D(3))
    paddle.save(layer.state_dict(), str(tmp_path / "a.pdparams"), protocol=protocol)
    checkpoint = open_weights(tmp_path / "a.pdparams")
    assert set(checkpoint) == set(layer.state_dict())
    for name, tensor in layer.state_dict().items():
        assert np.array_equal(checkpoint[name].read(), tensor.numpy())


def test_pdparams_with_arrays_in_parts(tmp_path):
    # The format of Paddle for arrays above 1 GB with protocol 2, at a small size; paddle.load reads it too.
    whole = np.arange(12, dtype="float32").reshape(3, 4)
    parts = {"w@@.0": whole.ravel()[:7], "w@@.1": whole.ravel()[7:]}
    table = {"UnpackBigParamInfor@@": {"w": {"OriginShape": (3, 4), "slices": ["w@@.0", "w@@.1"]}}}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({**parts, **table}, protocol=2))
    assert np.array_equal(paddle.load(str(tmp_path / "a.pdparams"), return_numpy=True)["w"], whole)
    checkpoint = open_weights(tmp_path / "a.pdparams")
    assert list(checkpoint) == ["w"]
    assert np.array_equal(checkpoint["w"].read(), whole)


def test_pdparams_of_fortran_order_and_big_endian(tmp_path):
    arrays = {"f": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "b": np.arange(500, dtype=">f4")}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(arrays, protocol=2))
    checkpoint = open_weights(tmp_path / "a.pdparams")
    for name, array in arrays.items():
        assert np.array_equal(checkpoint[name].read(), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_conversion_between_formats_keeps_all_bits(tmp_path, dtype):
    first = {str(n): LazyTensor.of(random_array(dtype, shape, n), dtype) for n, shape in enumerate(SHAPES)}
    write_pdparams(tmp_path / "a.pdparams", first)
    write_safetensors(tmp_path / "b.safetensors", open_weights(tmp_path / "a.pdparams"), {"format": "pt"})
    write_pdparams(tmp_path / "c.pdparams", open_weights(tmp_path / "b.safetensors"))
    last = open_weights(tmp_path / "c.pdparams")
    for name, tensor in first.items():
        assert last[name].shape == tensor.shape
        assert last[name].dtype == dtype
        assert last[name].read().tobytes() == tensor.read().tobytes()


@pytest.mark.parametrize(
    ("name", "metadata", "framework"),
    [
        ("model.safetensors", {"format": "pt"}, "pytorch"),
        ("model.safetensors", {"format": "pd"}, "paddle"),
        ("model.safetensors", {"format": "np"}, "paddle"),
        ("model.safetensors", None, "pytorch"),
        ("model_state.safetensors", None, "paddle"),
        ("model_state.safetensors", {"format": "pt"}, "pytorch"),
        ("diffusion_paddle_model.safetensors", None, "paddle"),
    ],
)
def test_framework_of_safetensors(tmp_path, name, metadata, framework):
    write_safetensors(tmp_path / name, {"a": LazyTensor.of(np.zeros(1, "float32"))}, metadata)
    assert open_weights(tmp_path / name).framework == framework


@pytest.mark.parametrize("suffix", [".bin", ".safetensors", ".pdparams"])
def test_sharded(tmp_path, suffix):
    arrays = {"a": np.arange(3.0), "b": np.ones((2, 2)), "c": np.zeros(1)}
    shards = {f"x-1{suffix}": ["a", "c"], f"x-2{suffix}": ["b"]}
    for file, names in shards.items():
        part = {name: LazyTensor.of(arrays[name]) for name in names}
        if suffix == ".bin":
            torch.save({name: torch.from_numpy(arrays[name]) for name in names}, tmp_path / file)
        else:
            (write_safetensors if suffix == ".safetensors" else write_pdparams)(tmp_path / file, part)
    weight_map = {name: file for file, names in shards.items() for name in names}
    index = tmp_path / f"x{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    checkpoint = open_weights(index)
    assert checkpoint.files == (index, *(tmp_path / file for file in shards))
    assert checkpoint.framework == ("paddle" if suffix == ".pdparams" else "pytorch")
    assert {name: tensor.read().tolist() for name, tensor in checkpoint.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


def test_shards_can_be_symbolic_links(tmp_path):
    write_safetensors(tmp_path / "blob", {"a": LazyTensor.of(np.zeros(1))})
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "blob")
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "link.safetensors"}}))
    assert list(open_weights(index)) == ["a"]


def test_opening_reads_no_tensor(tmp_path, monkeypatch):
    tensors = {name: LazyTensor.of(np.ones((50, 50))) for name in "ab"}
    write_safetensors(tmp_path / "a.safetensors", tensors)
    write_pdparams(tmp_path / "a.pdparams", tensors)
    reads = []
    real = CheckedFile.read_into
    monkeypatch.setattr(
        CheckedFile, "read_into", lambda file, at, array: (reads.append(array.nbytes), real(file, at, array))[1]
    )
    for name in ("a.safetensors", "a.pdparams"):
        checkpoint = open_weights(tmp_path / name)
        assert reads == []
        checkpoint["b"].read()
        assert reads == [50 * 50 * 8]
        reads.clear()


@pytest.mark.parametrize("write", [write_safetensors, write_pdparams])
def test_writing_holds_one_tensor_at_a_time(tmp_path, write):
    import weakref

    alive = []

    def fresh() -> np.ndarray:
        array = np.zeros(1000)
        assert all(reference() is None for reference in alive), "an earlier tensor is still in memory"
        alive.append(weakref.ref(array))
        return array

    write(tmp_path / "a", {str(n): LazyTensor("float64", (1000,), fresh) for n in range(4)})
    assert len(alive) == 4


@pytest.mark.parametrize("write", [write_safetensors, write_pdparams])
def test_a_full_disk_leaves_the_old_file(tmp_path, write):
    target = tmp_path / "w"
    target.write_bytes(b"old")

    def no_space() -> np.ndarray:
        raise OSError(28, "No space left on device")

    tensors = {"a": LazyTensor.of(np.zeros(5)), "b": LazyTensor("float32", (2,), no_space)}
    with pytest.raises(OSError, match="No space left"):
        write(target, tensors)
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["w"]


def test_a_full_device_is_an_oserror(tmp_path):
    # every write to /dev/full fails as on a full disk
    with pytest.raises(OSError, match="No space left"), replace_file(tmp_path / "w") as staging:
        staging.unlink()
        staging.symlink_to("/dev/full")
        with open(staging, "wb", buffering=0) as file:
            file.write(b"data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_safetensors, write_pdparams])
def test_a_tensor_with_a_wrong_shape_is_not_written(tmp_path, write):
    wrong = {"a": LazyTensor("float32", (3,), lambda: np.zeros(2, "float32"))}
    with pytest.raises(WeightsError, match="do not match its declared"):
        write(tmp_path / "w", wrong)
    assert list(tmp_path.iterdir()) == []


# -- files that change after they were opened -------------------------------------------------------------------


def write_one_of(kind, path, values) -> None:
    """Write the tensors "a" and "b" in one of the formats."""
    if kind == "safetensors":
        write_safetensors(path, {name: LazyTensor.of(values) for name in "ab"}, {"format": "pt"})
    elif kind == "pdparams":
        write_pdparams(path, {name: LazyTensor.of(values) for name in "ab"})
    else:
        tensors = {name: torch.from_numpy(values.copy()) for name in "ab"}
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip.bin")


@pytest.mark.parametrize("kind", ["safetensors", "pdparams", "zip.bin", "plain.bin"])
@pytest.mark.parametrize("change", ["truncate", "replace", "overwrite", "remove"])
def test_a_file_that_changed_after_it_was_opened(tmp_path, kind, change):
    path = tmp_path / f"w.{kind}"
    write_one_of(kind, path, np.zeros(5000, "float32"))
    opened = open_weights(path)
    assert opened["a"].read().sum() == 0
    if change == "truncate":
        os.truncate(path, 100)
    elif change == "replace":  # the same size, another file
        write_one_of(kind, tmp_path / "new", np.ones(5000, "float32"))
        os.replace(tmp_path / "new", path)
    elif change == "overwrite":  # the same file, in place
        content = path.read_bytes()
        time.sleep(0.02)  # longer than the clock of a file system ticks
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(WeightsError, match="changed after it was opened") as caught:
        opened["b"].read()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_tensors_of_unsupported_dtypes_do_not_hide_the_others(tmp_path, suffix):
    names = ("uint16", "uint32", "uint64", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")
    state = {name: torch.zeros(3, dtype=getattr(torch, name)) for name in names}
    state |= {"first": torch.tensor([1.5, 2.5]), "last": torch.tensor([3.5])}
    path = tmp_path / f"a.{suffix}"
    safetensors.torch.save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    opened = open_weights(path)
    assert {name: opened[name].dtype for name in names} == {name: name for name in names}
    assert opened["first"].read().tolist() == [1.5, 2.5] and opened["last"].read().tolist() == [3.5]


@pytest.mark.parametrize(("code", "size"), [("F4", 4), ("F6_E2M3", 6), ("F8_E4M3FNUZ", 8)])
def test_packed_tensors_do_not_move_the_others(tmp_path, code, size):
    header = {
        "a": {"dtype": code, "shape": [8], "data_offsets": [0, size]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [size, size + 4]},
    }
    encoded = json.dumps(header).encode()
    content = len(encoded).to_bytes(8, "little") + encoded + bytes(size) + np.float32(1.5).tobytes()
    (tmp_path / "a.safetensors").write_bytes(content)
    assert open_weights(tmp_path / "a.safetensors")["b"].read().tolist() == [1.5]


def test_eight_bit_floats_are_written_in_both_formats(tmp_path):
    """As they are in safetensors; numpy has no such dtype, so a .pdparams file has the same values in float16."""
    values = np.arange(256, dtype=np.uint8)
    tensors = {"a": LazyTensor.of(values, "float8_e5m2")}
    write_safetensors(tmp_path / "a.safetensors", tensors)
    assert safetensors.torch.load_file(tmp_path / "a.safetensors")["a"].view(torch.uint8).tolist() == values.tolist()
    write_pdparams(tmp_path / "a.pdparams", tensors)
    again = open_weights(tmp_path / "a.pdparams")["a"].read()
    assert np.array_equal(again, tensors["a"].astype("float16").read(), equal_nan=True) and again.dtype == np.float16
