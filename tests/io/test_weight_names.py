"""File names of weights: parsing, and one order for loading, downloading and conversion."""

from itertools import combinations

import numpy as np
import pytest
import torch

from ppdiffusers.conversion.weight_files import find_weights as find_for_conversion
from ppdiffusers.core.errors import SourceError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.hubs.base import HubModel, RemoteFile
from ppdiffusers.io.pretrained import find_weights
from ppdiffusers.io.required_files import ModelFiles
from ppdiffusers.io.weight_names import (
    ALL_TORCH_STEMS,
    WeightsName,
    candidate_names,
    index_names,
    is_shard,
    is_weights_file,
    parse_name,
    shard_names,
    weights_in,
    weights_name,
)
from ppdiffusers.io.weights import write_pdparams, write_safetensors

LOADED = [name for name in candidate_names(ALL_TORCH_STEMS) if not name.endswith(".json")]


def write(path) -> None:
    tensors = {"w": LazyTensor.of(np.zeros(1, "float32"))}
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors)
    elif path.suffix == ".pdparams":
        write_pdparams(path, tensors)
    else:
        torch.save({"w": torch.zeros(1)}, path)


class LocalModel(HubModel):
    """A model on a hub with the files of a folder."""

    def __init__(self, folder):
        super().__init__("hub", "acme/tiny", "main")
        self.folder = folder

    where = "here"

    def _find(self, path):
        return RemoteFile(path, f"file://{path}") if (self.folder / path).is_file() else None

    def read(self, file):
        return (self.folder / file.path).read_bytes()


def test_the_order():
    assert LOADED == [
        "model_state.safetensors",
        "diffusion_paddle_model.safetensors",
        "model_state.pdparams",
        "diffusion_paddle_model.pdparams",
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "pytorch_model.safetensors",
        "diffusion_pytorch_model.bin",
        "model.bin",
        "pytorch_model.bin",
    ]
    everything = candidate_names(ALL_TORCH_STEMS, "fp16", rare=True)
    assert everything[: 3 * len(LOADED)] == candidate_names(ALL_TORCH_STEMS, "fp16")
    assert everything[:3] == [
        "model_state.fp16.safetensors",
        "model_state.safetensors.index.fp16.json",
        "model_state.fp16.safetensors.index.json",
    ]


@pytest.mark.parametrize("pair", combinations(LOADED, 2), ids=" + ".join)
def test_loading_and_conversion_choose_the_same_file(tmp_path, pair):
    for name in reversed(pair):
        write(tmp_path / name)
    first = pair[0]
    assert find_weights(tmp_path, ALL_TORCH_STEMS).name == first
    assert [found.name for found in weights_in(tmp_path)] == list(pair)
    framework = parse_name(first).framework or "pytorch"
    assert find_for_conversion(tmp_path, framework, None).files[0].name == first


@pytest.mark.parametrize("use_safetensors", [True, False])
def test_downloading_has_the_same_order_among_files_of_one_format(tmp_path, use_safetensors):
    (tmp_path / "config.json").write_text("{}")
    names = [name for name in LOADED if name.endswith(".safetensors") == use_safetensors]
    for name in names:
        write(tmp_path / name)
    for name in names:
        for chosen in (use_safetensors, None):
            files = ModelFiles(ALL_TORCH_STEMS, None, chosen).select(LocalModel(tmp_path), "")
            assert files[1].path == name == find_weights(tmp_path, ALL_TORCH_STEMS, None, chosen).name
        (tmp_path / name).unlink()


def test_safetensors_are_downloaded_before_pickles(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in ("model_state.pdparams", "diffusion_pytorch_model.safetensors"):
        write(tmp_path / name)
    files = ModelFiles(ALL_TORCH_STEMS).select(LocalModel(tmp_path), "")
    assert files[1].path == "diffusion_pytorch_model.safetensors"


def test_files_that_only_conversion_reads(tmp_path):
    for name in ("diffusion_pytorch_model.pt", "model.pdparams"):
        write(tmp_path / name)
    with pytest.raises(SourceError, match="no weights"):
        find_weights(tmp_path, ALL_TORCH_STEMS)
    assert find_for_conversion(tmp_path, "pytorch", None).files[0].name == "diffusion_pytorch_model.pt"
    assert find_for_conversion(tmp_path, "paddle", None).files[0].name == "model.pdparams"
    with pytest.raises(WeightsError, match="no weights of the variant 'ema'"):
        find_for_conversion(tmp_path, "paddle", "ema")


@pytest.mark.parametrize("framework", ["pytorch", "paddle"])
def test_the_metadata_of_model_safetensors_name_its_framework(tmp_path, framework):
    tensors = {"w": LazyTensor.of(np.zeros(1, "float32"))}
    write_safetensors(tmp_path / "model.safetensors", tensors, {"format": "pt" if framework == "pytorch" else "pd"})
    assert parse_name("model.safetensors").framework is None
    assert find_for_conversion(tmp_path, framework, None).framework == framework
    with pytest.raises(WeightsError, match="found: model.safetensors"):
        find_for_conversion(tmp_path, {"pytorch": "paddle", "paddle": "pytorch"}[framework], None)


@pytest.mark.parametrize(
    ("name", "stem", "suffix", "variant"),
    [
        ("model_state.safetensors", "model_state", ".safetensors", None),
        ("model_state.fp16.pdparams", "model_state", ".pdparams", "fp16"),
        ("pytorch_model.bin.index.json", "pytorch_model", ".bin", None),
        ("model.safetensors.index.fp16.json", "model", ".safetensors", "fp16"),
        ("model.non-ema.safetensors.index.json", "model", ".safetensors", "non-ema"),
        ("diffusion_pytorch_model.ckpt", "diffusion_pytorch_model", ".ckpt", None),
    ],
)
def test_names_are_parsed(name, stem, suffix, variant):
    assert parse_name(name) == WeightsName(name, stem, suffix, variant)
    assert name in {weights_name(stem, suffix, variant), *index_names(stem, suffix, variant)}
    assert is_weights_file(name)


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "config.json", "unet.safetensors", "model.h5", "model", "models.bin"]
)
def test_other_names(name):
    assert parse_name(name) is None


def test_shards():
    assert shard_names("model", ".bin", None, 1) == ["model.bin"]
    names = shard_names("model", ".bin", "fp16", 2)
    assert names == ["model.fp16-00001-of-00002.bin", "model.fp16-00002-of-00002.bin"]
    assert all(is_shard(name, "model", ".bin", "fp16") and is_weights_file(name) for name in names)
    assert not is_shard(names[0], "model", ".bin", None)
    assert not is_shard("model.bin", "model", ".bin", None)
