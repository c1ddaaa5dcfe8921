"""The file that a compiled network's weights lie in: what is written to it is noticed and never lost."""

import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers.runtime import weights
from ppdiffusers.runtime.weights import Fingerprint, WeightsFile, hash_weights, move_to_file, tensors_of, write_weights

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell which pages were written to")


def network() -> nn.Layer:
    """Tensors of several pages, of less than one, of no numbers, and a buffer."""
    paddle.seed(0)
    layer = nn.Sequential(nn.Linear(300, 70), nn.BatchNorm1D(70), nn.Linear(70, 3, bias_attr=False))
    layer.register_buffer("empty", paddle.zeros([0, 4]))
    layer.register_buffer("counts", paddle.arange(5000))
    return layer


@pytest.fixture
def folder(tmp_path):
    write_weights(network(), tmp_path)
    return tmp_path


@pytest.fixture(params=["pages", "samples", "samples where pages are not known"])
def notices_by(request, monkeypatch, tmp_path):
    """How changes are noticed: by what the system says of each page, or by a few numbers where it says nothing."""
    if request.param == "samples":
        monkeypatch.setattr(weights, "_PAGEMAP", str(tmp_path / "no such file"))
    elif request.param != "pages":
        monkeypatch.setattr(weights, "_OF_A_FILE", np.uint64(0))  # each page in use seems changed
    elif sys.platform != "linux":
        pytest.skip("other systems do not tell")
    return request.param


def test_every_tensor_is_written_and_read(folder):
    layer, file = network(), WeightsFile(folder)
    tensors = dict(tensors_of(layer))
    assert file.arrays.keys() == tensors.keys() and len(tensors) == 9
    for key, tensor in tensors.items():
        assert file.arrays[key].dtype == tensor.numpy().dtype
        assert np.array_equal(file.arrays[key], tensor.numpy()), key
    assert file.hash() == hash_weights(layer)


def test_a_write_is_noticed_and_kept(folder, notices_by):
    file = WeightsFile(folder)
    assert float(file.arrays["0.weight"].sum()) != 0 and not file.is_written_to()
    file.arrays["0.weight"][0, 0] = 77.0
    assert file.is_written_to()
    for _ in range(2):
        file.forget()
        assert file.arrays["0.weight"][0, 0] == 77.0 and file.is_written_to()
    assert WeightsFile(folder).arrays["0.weight"][0, 0] != 77.0, "the file itself stays as it is"


@linux
def test_any_number_counts(folder):
    for key, array in WeightsFile(folder).arrays.items():
        for place in range(0, array.size, max(1, array.size // 7)):
            file = WeightsFile(folder)
            file.arrays[key].reshape(-1)[place] += 1
            assert file.is_written_to(), (key, place)


def test_a_network_in_its_file_is_as_it_was_until_it_is_written_to(folder, notices_by):
    layer, file = network(), WeightsFile(folder)
    layer.eval()
    x = paddle.ones([2, 300])
    wanted = layer(x)
    move_to_file(layer, file)
    fingerprint = Fingerprint(layer, file)
    file.forget()
    assert np.array_equal(layer(x), wanted) and not fingerprint.changed()
    layer[2].weight.numpy()  # reading is no change
    assert not fingerprint.changed()
    paddle.utils.dlpack.from_dlpack(layer[2].weight.detach()).fill_(1.0)  # writes without this tensor's knowing
    assert fingerprint.changed()


@linux
@pytest.mark.parametrize("way", ["once", "through the layer"])
def test_what_is_read_does_not_pile_up_in_memory(way, tmp_path):
    layer = nn.Linear(4096, 4096)  # 64 MB
    write_weights(layer, tmp_path)
    file = WeightsFile(tmp_path)
    assert np.array_equal(file.arrays["weight"], layer.weight.numpy())
    assert resident_mb(tmp_path) > 48, "what is read is in memory, if nobody lets go of it"
    file.forget()
    assert resident_mb(tmp_path) < 8
    with file.read_once() if way == "once" else file.read_through_layer() as arrays:
        arrays = arrays or file.arrays
        assert np.array_equal(arrays["weight"], layer.weight.numpy())
        deadline = time.monotonic() + 60
        while (during := resident_mb(tmp_path)) >= 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert during < 8
        assert np.array_equal(arrays["weight"], layer.weight.numpy())
    assert resident_mb(tmp_path) < 8


def resident_mb(folder: Path) -> int:
    """What this process has in memory of the mapped files in a folder."""
    total = counted = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line[0].isupper():  # a mapping: its addresses, in hex
            counted = str(folder) in line
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total // 1024
