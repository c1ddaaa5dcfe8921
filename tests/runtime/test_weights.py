"""The mapped file of a compiled network's weights: writing to them is detected and never lost."""

import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers.runtime import weights
from ppdiffusers.runtime.weights import (
    WeightsFile,
    WeightsVersion,
    hash_weights,
    map_weights,
    named_weights,
    write_weights,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not describe pages")


def network() -> nn.Layer:
    """Return a network with tensors of several pages, of less than one page, an empty one, and a buffer."""
    paddle.seed(0)
    layer = nn.Sequential(nn.Linear(300, 70), nn.BatchNorm1D(70), nn.Linear(70, 3, bias_attr=False))
    layer.register_buffer("empty", paddle.zeros([0, 4]))
    layer.register_buffer("counts", paddle.arange(5000))
    return layer


@pytest.fixture
def folder(tmp_path):
    write_weights(network(), tmp_path)
    return tmp_path


@pytest.fixture(params=["pages", "samples", "samples where the page map is unusable"])
def detection(request, monkeypatch, tmp_path):
    """Detect changes with the system's page map, or with a few samples of each tensor."""
    if request.param == "samples":
        monkeypatch.setattr(weights, "_PAGEMAP", str(tmp_path / "no such file"))
    elif request.param != "pages":
        monkeypatch.setattr(weights, "_FILE_BACKED", np.uint64(0))  # each page in use seems changed
    elif sys.platform != "linux":
        pytest.skip("other systems do not describe pages")
    return request.param


def test_every_tensor_is_written_and_read(folder):
    layer, file = network(), WeightsFile(folder)
    tensors = dict(named_weights(layer))
    assert file.arrays.keys() == tensors.keys() and len(tensors) == 9
    for key, tensor in tensors.items():
        assert file.arrays[key].dtype == tensor.numpy().dtype
        assert np.array_equal(file.arrays[key], tensor.numpy()), key
    assert file.hash() == hash_weights(layer)


def test_a_write_is_detected_and_kept(folder, detection):
    file = WeightsFile(folder)
    assert float(file.arrays["0.weight"].sum()) != 0 and not file.is_modified()
    file.arrays["0.weight"][0, 0] = 77.0
    assert file.is_modified()
    for _ in range(2):
        file.release_pages()
        assert file.arrays["0.weight"][0, 0] == 77.0 and file.is_modified()
    assert WeightsFile(folder).arrays["0.weight"][0, 0] != 77.0, "the file itself is unchanged"


@linux
def test_a_change_of_any_element_is_detected(folder):
    for key, array in WeightsFile(folder).arrays.items():
        for place in range(0, array.size, max(1, array.size // 7)):
            file = WeightsFile(folder)
            file.arrays[key].reshape(-1)[place] += 1
            assert file.is_modified(), (key, place)


def test_a_mapped_network_is_unchanged_until_it_is_written_to(folder, detection):
    layer, file = network(), WeightsFile(folder)
    layer.eval()
    x = paddle.ones([2, 300])
    wanted = layer(x)
    map_weights(layer, file)
    version = WeightsVersion(layer, file)
    file.release_pages()
    assert np.array_equal(layer(x), wanted) and not version.changed()
    layer[2].weight.numpy()  # reading is not a change
    assert not version.changed()
    paddle.utils.dlpack.from_dlpack(layer[2].weight.detach()).fill_(1.0)  # writes through another tensor
    assert version.changed()


@linux
@pytest.mark.parametrize("way", ["once", "through the layer"])
def test_pages_that_were_read_are_released(way, tmp_path):
    layer = nn.Linear(4096, 4096)  # 64 MB
    write_weights(layer, tmp_path)
    file = WeightsFile(tmp_path)
    assert np.array_equal(file.arrays["weight"], layer.weight.numpy())
    assert resident_mb(tmp_path) > 48, "pages that were read stay in memory"
    file.release_pages()
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
    """Return the resident size of this process's mappings of files in a folder."""
    total = counted = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line[0].isupper():  # a mapping: its addresses, in hex
            counted = str(folder) in line
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total // 1024
