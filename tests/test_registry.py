"""The table of public names: what reads it, and a class that is added with one row."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import ppdiffusers.transformers
from ppdiffusers import registry
from ppdiffusers.core.errors import ConfigError, ConversionError


def test_every_row_imports_and_is_exported():
    for entry in registry.entries():
        found = entry.load()
        home = ppdiffusers.transformers if entry.library == "transformers" else ppdiffusers
        assert getattr(home, entry.name, None) is (found if entry.exported or home is not ppdiffusers else None)


def test_names_are_unique():
    names = [entry.name for entry in registry._ROWS]
    assert len(names) == len(set(names))


def test_every_original_exists():
    for entry in registry.components().values():
        if not entry.has_original:
            continue
        assert entry.original().__name__ in (entry.name, entry.name.replace("FeatureExtractor", "ImageProcessor"))


def test_a_row_of_ppdiffusers_cannot_be_replaced_or_removed():
    with pytest.raises(ValueError, match="registered already"):
        registry.register(registry.Entry("UNet2DModel", "elsewhere", "model"))
    with pytest.raises(ValueError, match="not added"):
        registry.unregister("UNet2DModel")
    with pytest.raises(ValueError, match="not added"):
        registry.unregister("NoSuchModel")


# -- a class of another package: one row ------------------------------------------------------------------------------

HERE, ORIGINAL = "tests.support.made_up", "tests.support.made_up_torch"
ROWS = (
    registry.Entry("MadeUpModel", HERE, "model", library=ORIGINAL, paddle_library=HERE),
    registry.Entry("MadeUpPipeline", HERE, "pipeline", family="made-up", task=registry.TEXT_TO_IMAGE),
    registry.Entry("MadeUpImg2ImgPipeline", HERE, "pipeline", family="made-up", task=registry.IMAGE_TO_IMAGE),
)


@pytest.fixture
def made_up():
    for row in ROWS:
        registry.register(row)
    yield
    for row in ROWS:
        registry.unregister(row.name)


@pytest.fixture
def torch_folder(tmp_path):
    """The made-up pipeline, saved by diffusers."""
    import diffusers
    import torch

    from tests.support import made_up_torch

    torch.manual_seed(0)
    model = made_up_torch.MadeUpModel(channels=5)
    made_up_torch.MadeUpPipeline(model, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "torch")
    index = json.loads((tmp_path / "torch/model_index.json").read_text())
    index["model"] = [ORIGINAL, "MadeUpModel"]  # diffusers names the last part of the package only
    (tmp_path / "torch/model_index.json").write_text(json.dumps(index))
    return tmp_path / "torch", model


def test_a_new_class_is_exported_and_loads(made_up, torch_folder):
    import torch

    folder, model = torch_folder
    pipe = ppdiffusers.DiffusionPipeline.from_pretrained(folder)
    assert type(pipe) is ppdiffusers.MadeUpPipeline and type(pipe.model) is ppdiffusers.MadeUpModel
    expected = model(torch.ones(1, 5)).detach().numpy()
    np.testing.assert_allclose(pipe().images, expected, rtol=1e-5, atol=1e-6)


def test_a_new_class_is_saved_with_its_settings(made_up, torch_folder, tmp_path):
    pipe = ppdiffusers.MadeUpPipeline.from_pretrained(torch_folder[0], label="x")
    pipe.save_pretrained(tmp_path / "paddle")
    index = json.loads((tmp_path / "paddle/model_index.json").read_text())
    assert index["model"] == [HERE, "MadeUpModel"] and index["label"] == "x"
    again = ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "paddle")
    assert again.config.label == "x" and (again().images == pipe().images).all()
    pipe.save_pretrained(tmp_path / "back", to_diffusers=True)
    assert json.loads((tmp_path / "back/model_index.json").read_text())["model"] == [ORIGINAL, "MadeUpModel"]


def test_a_new_class_is_converted_and_verified(made_up, torch_folder, tmp_path):
    folder, model = torch_folder
    report = ppdiffusers.convert_diffusers_to_paddle(folder, tmp_path / "paddle", verify=True, progress=False)
    assert {component.name for component in report.components} == {"model", "scheduler"}
    assert ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "paddle").model.config.channels == 5
    ppdiffusers.convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "back", progress=False)
    back = load_file(tmp_path / "back/model/diffusion_pytorch_model.safetensors")
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(back[name], tensor.numpy())


def test_a_wrong_weight_of_a_new_class_is_noticed(made_up, torch_folder, tmp_path, monkeypatch):
    from tests.support import made_up

    monkeypatch.setattr(made_up.MadeUpModel, "forward", lambda self, sample: self.proj_out(self.proj_in(sample)))
    with pytest.raises(ConversionError, match="MadeUpModel"):
        ppdiffusers.convert_diffusers_to_paddle(torch_folder[0], tmp_path / "paddle", verify=True, progress=False)


def test_auto_pipeline_finds_a_new_class(made_up, torch_folder):
    pipe = ppdiffusers.AutoPipelineForText2Image.from_pretrained(torch_folder[0])
    assert type(pipe).__name__ == "MadeUpPipeline"
    other = ppdiffusers.AutoPipelineForImage2Image.from_pipe(pipe)
    assert type(other).__name__ == "MadeUpImg2ImgPipeline" and other.model is pipe.model


def test_a_removed_row_is_unknown_again(torch_folder):
    with pytest.raises(ConfigError, match="MadeUpPipeline"):
        ppdiffusers.DiffusionPipeline.from_pretrained(torch_folder[0])
    assert not hasattr(ppdiffusers, "MadeUpPipeline")
