"""Checkpoints of 2022 (google/ddpm-cifar10-32, google/ncsnpp-celebahq-256): all files are next to model_index.json."""

import json
import shutil

import diffusers
import numpy as np
import pytest

import ppdiffusers
from ppdiffusers import DiffusionPipeline, convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.core.errors import ConfigError
from tests.pipelines.support import assert_images_agree, call_both, generators, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.unconditional import tiny_unconditional

SHORT = {"num_inference_steps": 4, "output_type": "np"}


def flat(name, folder):
    """A folder in the format of that time: no subfolders, no safetensors."""
    made = tiny_unconditional(name, folder / "made")
    target = folder / "flat"
    target.mkdir()
    diffusers.UNet2DModel.from_pretrained(made / "unet").save_pretrained(target, safe_serialization=False)
    shutil.copy(made / "scheduler" / "scheduler_config.json", target)
    shutil.copy(made / "model_index.json", target)
    (target / "README.md").write_text("# a model of 2022\n")
    return target


@pytest.mark.parametrize("name", ["DDPMPipeline", "ScoreSdeVePipeline"])
def test_loading(tmp_path, name):
    folder = flat(name, tmp_path)
    assert not any(path.is_dir() for path in folder.iterdir())
    ours, theirs = load_both(folder)
    mine, reference = call_both(ours, theirs, seed=2, **SHORT)
    assert_images_agree(mine.images, reference.images)
    ours.save_pretrained(tmp_path / "saved")
    again = getattr(ppdiffusers, name).from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again(generator=2, **SHORT).images, mine.images)


def test_unet_named_model(tmp_path):
    """The name in the index of google/ncsnpp-*, which diffusers no longer loads."""
    folder = flat("ScoreSdeVePipeline", tmp_path)
    theirs = diffusers.ScoreSdeVePipeline.from_pretrained(folder)
    index = {
        "_class_name": "ScoreSdeVePipeline",
        "scheduler": ["diffusers", "ScoreSdeVeScheduler"],
        "model": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    convert_diffusers_to_paddle(folder, tmp_path / "paddle", progress=False)
    for path in (folder, tmp_path / "paddle"):
        mine, reference = call_both(DiffusionPipeline.from_pretrained(path), theirs, seed=2, **SHORT)
        assert_images_agree(mine.images, reference.images)


def test_conversion_in_both_directions(tmp_path):
    """The output has a folder for each component, as current checkpoints have."""
    folder = flat("DDPMPipeline", tmp_path)
    report = convert_diffusers_to_paddle(folder, tmp_path / "paddle", verify=True, progress=False)
    assert [component.name for component in report.components] == ["scheduler", "unet"]
    assert report.copied == ["README.md"] and not report.left_out
    written = sorted(path.relative_to(tmp_path / "paddle").as_posix() for path in (tmp_path / "paddle").rglob("*.*"))
    network = ["unet/config.json", "unet/model_state.pdparams"]
    assert written == ["README.md", "model_index.json", "scheduler/scheduler_config.json", *network]
    convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "back", verify=True, progress=False)
    ours, theirs = (
        DiffusionPipeline.from_pretrained(tmp_path / "paddle"),
        diffusers.DDPMPipeline.from_pretrained(folder),
    )
    back = diffusers.DDPMPipeline.from_pretrained(tmp_path / "back")
    mine, reference = call_both(ours, theirs, seed=2, **SHORT)
    assert_images_agree(mine.images, reference.images)
    assert_images_agree(mine.images, back(generator=generators(2)[1], **SHORT).images)


def test_missing_component_folder(tmp_path):
    """A configuration next to the index does not replace the folder of a component that always had one."""
    folder = tiny_stable_diffusion(tmp_path, safety_checker=False)
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    shutil.rmtree(folder / "vae")
    with pytest.raises(ConfigError, match="vae: the folder vae/ is missing"):
        DiffusionPipeline.from_pretrained(folder)
