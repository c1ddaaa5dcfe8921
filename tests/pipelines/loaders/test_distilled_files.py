"""Single files of distilled networks, which have fewer layers: their configurations follow from names and shapes."""

from __future__ import annotations

import inspect

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers.conversion.describe import describe_file
from ppdiffusers.convert.single_files.published import FAMILIES
from ppdiffusers.convert.single_files.recognition import recognise
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.io.single_file import open_single_file
from ppdiffusers.utils.dummy_inputs import as_tensors
from tests.pipelines.loaders.test_single_file import OFFLINE, assert_same_weights
from tests.pipelines.loaders.test_single_file_writing import assert_same_file
from tests.support import originals
from tests.support.parity import randomize
from tests.support.single_files import tiny_unet, write_single_file

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"
# The structures of published distilled UNets: family, configuration.
UNETS = {
    "bk-sdm-base": ("sd1", {"layers_per_block": 1}),
    "small-sd": ("sd1", {"layers_per_block": 1, "mid_block_type": None}),
    "tiny-sd": (
        "sd1",
        {
            "layers_per_block": 1,
            "mid_block_type": None,
            "block_out_channels": (8, 8, 16),
            "down_block_types": (CROSS,) * 3,
            "up_block_types": (UP,) * 3,
        },
    ),
    "SSD-1B": (
        "sdxl",
        {
            "mid_block_type": "UNetMidBlock2D",
            "transformer_layers_per_block": (1, 2, 4),
            "reverse_transformer_layers_per_block": ((4, 4, 5), (2, 1, 1), 1),
        },
    ),
    "Segmind-Vega": (
        "sdxl",
        {
            "mid_block_type": "UNetMidBlock2D",
            "transformer_layers_per_block": (1, 1, 2),
        },
    ),
    "koala": ("sdxl", {"mid_block_type": None, "layers_per_block": 1, "transformer_layers_per_block": (1, 2, 5)}),
}
CONTROLNETS = {
    "mid": {"transformer_layers_per_block": 1},
    "small": {"down_block_types": (PLAIN,) * 3, "mid_block_type": "UNetMidBlock2D"},
}


def plain(value):
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


@pytest.fixture
def whole(monkeypatch):
    """Make the published models tiny, with all of their layers; return kind -> their configuration."""
    configs = {
        kind: {name: value for name, value in tiny_unet(kind).config.items() if not name.startswith("_")}
        for kind in ("sd1", "sdxl")
    }
    for kind, config in configs.items():
        monkeypatch.setitem(FAMILIES, kind, FAMILIES[kind].with_settings("unet", **config))
    names = inspect.signature(diffusers.ControlNetModel.__init__).parameters
    kept = {name: value for name, value in configs["sdxl"].items() if name in names}
    hints = {"conditioning_embedding_out_channels": (4, 6, 8, 10)}
    control = FAMILIES["controlnet_sdxl"].with_settings("controlnet", **kept, **hints)
    monkeypatch.setitem(FAMILIES, "controlnet_sdxl", control)
    return {**configs, "controlnet": {**kept, **hints}}


def assert_same_outputs(ours, theirs) -> None:
    inputs = ours.dummy_inputs(np.random.default_rng(0))
    with torch.no_grad():
        expected = type(ours).reference_outputs(theirs, as_tensors(inputs, torch.from_numpy))
    with paddle.no_grad():
        found = type(ours).reference_outputs(ours, as_tensors(inputs, paddle.to_tensor))
    for name, array in expected.items():
        array = array.numpy()
        assert np.abs(found[name].numpy() - array).max() <= 1e-4 * np.abs(array).max(), name


@pytest.mark.parametrize("name", UNETS)
def test_unets(name, whole, tmp_path):
    kind, changes = UNETS[name]
    network = randomize(diffusers.UNet2DConditionModel.from_config({**whole[kind], **changes}), 3)
    network.save_pretrained(tmp_path / "unet")
    tensors = originals.wrapped("model.diffusion_model.", originals.guided_diffusion(network))
    file = write_single_file(tmp_path / f"{name}.safetensors", tensors)
    ours = ppdiffusers.UNet2DConditionModel.from_single_file(file)
    theirs = diffusers.UNet2DConditionModel.from_single_file(str(file), config=str(tmp_path / "unet"), **OFFLINE)
    assert_same_weights(ours, theirs)
    assert_same_outputs(ours, theirs)
    for key, value in changes.items():
        assert plain(ours.config[key]) == plain(value), key
    again = tmp_path / "again.safetensors"
    ours.save_pretrained(tmp_path / "paddle")
    ppdiffusers.convert_to_single_file(tmp_path / "paddle", again, progress=False)
    assert_same_file(again, file, kind)
    saved = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"  # diffusers' own names
    assert_same_weights(ppdiffusers.UNet2DConditionModel.from_single_file(saved), network)
    assert describe_file(file).base_model == FAMILIES[kind].title


@pytest.mark.parametrize("name", CONTROLNETS)
@pytest.mark.parametrize("is_original", [False, True])
def test_controlnets_of_stable_diffusion_xl(name, is_original, whole, tmp_path):
    network = diffusers.ControlNetModel.from_config({**whole["controlnet"], **CONTROLNETS[name]})
    randomize(network, 4).save_pretrained(tmp_path / "controlnet")
    file = tmp_path / "controlnet" / "diffusion_pytorch_model.safetensors"
    theirs = network  # diffusers does not read the embedding of sizes from a file with the original names
    if is_original:
        tensors = originals.wrapped("control_model.", originals.controlnet(network))
        file = write_single_file(tmp_path / "control.safetensors", tensors)
    else:
        config = str(tmp_path / "controlnet")
        theirs = diffusers.ControlNetModel.from_single_file(str(file), config=config, **OFFLINE)
    ours = ppdiffusers.ControlNetModel.from_single_file(file)
    assert_same_weights(ours, theirs)
    assert_same_outputs(ours, theirs)


def test_incomplete_files_keep_the_published_configuration(whole, tmp_path):
    """What is missing is then reported by its names."""
    for kind in ("sd1", "sdxl"):
        network = originals.guided_diffusion(tiny_unet(kind))
        for missing in ("output_blocks.4.", "middle_block.1.", "input_blocks.4.0."):
            tensors = {name: tensor for name, tensor in network.items() if not name.startswith(missing)}
            file = write_single_file(tmp_path / "cut.safetensors", originals.wrapped("model.diffusion_model.", tensors))
            assert recognise(open_single_file(file)) is FAMILIES[kind], missing
            with pytest.raises(WeightsError, match="missing: model.diffusion_model."):
                ppdiffusers.UNet2DConditionModel.from_single_file(file)
