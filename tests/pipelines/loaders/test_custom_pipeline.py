"""`custom_pipeline=`: classes of users in files on this machine; no code is downloaded or run from a download."""

import json
import sys

import numpy as np
import pytest

from ppdiffusers import DiffusionPipeline, UNet2DModel
from ppdiffusers.core.errors import ConfigError, InputError, SourceError
from tests.support.checkpoints import tiny_ddpm

CODE = """
import dataclasses
import paddle
from ppdiffusers import DiffusionPipeline
{imports}

@dataclasses.dataclass
class Settings:
    steps: int = 1


class Base(DiffusionPipeline):
    pass


class Doubled(Base):
    def __init__(self, unet, scheduler, factor=2):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(factor=factor)

    @paddle.no_grad()
    def __call__(self, value):
        return value * {factor} * Settings().steps
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_ddpm(tmp_path_factory.mktemp("ddpm"))


def written(path, imports="", factor="self.config.factor"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CODE.format(imports=imports, factor=factor))
    return path


@pytest.mark.parametrize("form", ["file", "folder", "text"])
def test_a_file_or_a_folder(folder, tmp_path, form):
    file = written(tmp_path / "mine" / "pipeline.py")
    given = {"file": file, "folder": file.parent, "text": str(file)}[form]
    pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=given, factor=3)
    assert type(pipe).__name__ == "Doubled" and pipe(2) == 6 and isinstance(pipe.unet, UNet2DModel)
    assert not caught_in_path(tmp_path)


def caught_in_path(tmp_path):
    return [entry for entry in sys.path if str(tmp_path) in entry]


def test_relative_imports_and_other_components(folder, tmp_path):
    (tmp_path / "helper.py").write_text("FACTOR = 5\n")
    file = written(tmp_path / "mine.py", "from .helper import FACTOR", "FACTOR")
    unet = UNet2DModel.from_pretrained(folder / "unet")
    pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=file, unet=unet)
    assert pipe(2) == 10 and pipe.unet is unet


def test_saved_pipelines_are_loaded_with_their_file(folder, tmp_path):
    file = written(tmp_path / "mine.py")
    DiffusionPipeline.from_pretrained(folder, custom_pipeline=file, factor=4).save_pretrained(tmp_path / "saved")
    with pytest.raises(ConfigError, match="custom_pipeline"):
        DiffusionPipeline.from_pretrained(tmp_path / "saved")
    again = DiffusionPipeline.from_pretrained(tmp_path / "saved", custom_pipeline=file)
    assert again(1) == 4
    np.testing.assert_array_equal(
        again.unet.conv_in.weight, UNet2DModel.from_pretrained(folder / "unet").conv_in.weight
    )


def test_a_changed_file_is_run_again(folder, tmp_path):
    for factor in ("7", "8"):
        file = written(tmp_path / "mine.py", factor=factor)
        assert DiffusionPipeline.from_pretrained(folder, custom_pipeline=file)(1) == int(factor)


@pytest.mark.parametrize(
    "name", ["lpw_stable_diffusion", "someone/their-pipeline", "https://hub/pipeline.py", "absent.py"]
)
def test_code_is_never_downloaded(folder, name):
    with pytest.raises(SourceError, match="download the file"):
        DiffusionPipeline.from_pretrained(folder, custom_pipeline=name)


@pytest.mark.parametrize(
    "code",
    ["x = 1", CODE.format(imports="", factor="1") + CODE.format(imports="", factor="1").replace("Doubled", "Other")],
)
def test_files_without_one_pipeline(folder, tmp_path, code):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ConfigError, match="exactly one pipeline"):
        DiffusionPipeline.from_pretrained(folder, custom_pipeline=tmp_path / "mine.py")


def test_a_file_that_fails_is_not_remembered(folder, tmp_path):
    (tmp_path / "mine.py").write_text("raise ZeroDivisionError")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            DiffusionPipeline.from_pretrained(folder, custom_pipeline=tmp_path / "mine.py")


def test_code_in_the_folder_of_a_model(folder, tmp_path):
    """As in diffusers, `_class_name` may be [file, class]; it is run only if the user says so."""
    DiffusionPipeline.from_pretrained(folder).save_pretrained(tmp_path)
    written(tmp_path / "pipeline.py")
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": ["pipeline", "Doubled"]}))
    with pytest.raises(InputError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(tmp_path)
    for said in ({"trust_remote_code": True}, {"custom_pipeline": tmp_path}):
        assert DiffusionPipeline.from_pretrained(tmp_path, **said)(3) == 6


def test_components_that_are_read_from_the_configuration(folder):
    """As in the community's "mega" pipelines: `config` must not read the overridden `components`."""

    class Mega(DiffusionPipeline):
        def __init__(self, unet, scheduler):
            super().__init__()
            self.register_modules(unet=unet, scheduler=scheduler)

        @property
        def components(self):
            return {name: getattr(self, name) for name in self.config if not name.startswith("_")}

    pipe = DiffusionPipeline.from_pretrained(folder)
    assert Mega(**pipe.components).components == pipe.components
