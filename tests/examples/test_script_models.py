"""The model of an inference script: a folder of the user's own in either framework's layout, or the published one."""

import re
import runpy
import socket
import sys

import numpy as np
import PIL.Image
import pytest

from ppdiffusers import StableDiffusionPipeline, convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.core.errors import SourceError
from tests.pipelines.support import assert_levels_agree
from tests.support.scripts import INFERENCE, ROOT, SCRIPTS, published_models, run_script

EMBEDDED = ROOT / "examples" / "assets" / "shapes-bilingual"
UPSCALER = INFERENCE / "text_guided_image_upscaling-latent_upscale.py"
# What keeps a script quick besides few steps.
QUICK = {"unconditional_audio_generation-dance_diffusion": ("--seconds", "0.5")}

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@pytest.fixture
def run_here(monkeypatch):
    """Runs a script in this process: to import Paddle for each takes seconds."""
    monkeypatch.syspath_prepend(str(INFERENCE))

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")

    return run


@pytest.fixture
def small_pictures(monkeypatch):
    """The input pictures of the scripts have a quarter of the published models' sides."""
    monkeypatch.syspath_prepend(str(INFERENCE))
    import pictures

    def smaller(load):
        return lambda path, *sides: load(path, *(max(32, side // 4) for side in sides))

    monkeypatch.setattr(pictures, "load", smaller(pictures.load))
    monkeypatch.setattr(pictures, "load_mask", smaller(pictures.load_mask))


def pictures_in(folder):
    """Name -> picture [H, W, 3] of what a script wrote: what it painted, and for some what it was painted from."""
    found = {file.name: np.asarray(PIL.Image.open(file).convert("RGB")) for file in folder.glob("*.png")}
    assert found and all(picture.std() > 5 for picture in found.values()), "a picture is nearly one colour"
    return found


def assert_the_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, picture in ours.items():
        assert_levels_agree(picture, theirs[name])


def weights_of(folder):
    """How the files of weights in the folder end."""
    return {file.suffix for file in folder.rglob("*") if file.suffix in (".safetensors", ".pdparams", ".bin")}


def test_the_embedded_checkpoint_in_both_layouts(tmp_path):
    """The picture is the one that the pipeline paints, so the script has said all that it was told."""
    script = INFERENCE / "text_to_image_generation-stable_diffusion.py"
    prompt, painted = "一个红色的圆形，白色背景", []
    convert_diffusers_to_paddle(EMBEDDED, tmp_path / "paddle", progress=False)
    assert weights_of(EMBEDDED) == {".safetensors"} and weights_of(tmp_path / "paddle") == {".pdparams"}
    for model in (EMBEDDED, tmp_path / "paddle"):
        place = tmp_path / f"run{len(painted)}"
        place.mkdir()
        told = ("--prompt", prompt, "--num_inference_steps", "2", "--guidance_scale", "3", "--seed", "5")
        done = run_script(script, place, "--model", str(model), *told)
        assert done.returncode == 0, done.stderr[-3000:]
        painted.append(pictures_in(place / "out"))
    assert_the_same(*painted)
    pipe = StableDiffusionPipeline.from_pretrained(EMBEDDED)
    expected = pipe(prompt, num_inference_steps=2, guidance_scale=3.0, generator=5).images[0]
    assert_levels_agree(painted[0]["image.png"], np.asarray(expected))


@every_script
def test_folders_of_ones_own_in_both_layouts(script, run_here, small_pictures, tmp_path, capsys):
    """The tiny models that `--tiny` saves, converted; so this is also how a script runs without `--tiny`."""
    run_here(script, "--tiny", "--output_dir", tmp_path / "made")
    made = tmp_path / "made" / "tiny"
    options = {"upscaler": "--model", "base": "--base_model"} if script == UPSCALER else {"": "--model"}
    for part in options:
        convert_paddle_to_diffusers(made / part, tmp_path / "torch" / part, progress=False)
        convert_diffusers_to_paddle(tmp_path / "torch" / part, tmp_path / "paddle" / part, progress=False)
    assert weights_of(tmp_path / "torch") == {".safetensors"} and weights_of(tmp_path / "paddle") == {".pdparams"}
    quick = ("--num_inference_steps", "4", *QUICK.get(script.stem, ()))
    painted = []
    for layout in ("torch", "paddle"):
        models = [word for part, option in options.items() for word in (option, tmp_path / layout / part)]
        capsys.readouterr()
        run_here(script, *models, *quick, "--output_dir", tmp_path / "out" / layout)
        assert str(tmp_path / "out" / layout) in capsys.readouterr().out
        painted.append(pictures_in(tmp_path / "out" / layout))
    assert_the_same(*painted)


# -- the published model --------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Offline with empty caches in an empty folder; whoever opens a socket all the same fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    for variable in ("PPDIFFUSERS_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "caches" / variable))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


@every_script
def test_without_arguments_the_published_model_is_asked_for(script, run_here, alone):
    published = published_models(script)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in published.values())
    with pytest.raises(SourceError) as raised:
        run_here(script)
    # a script of two models asks for the one that it needs first
    first = published.get("--base_model", published["--model"])
    assert first in str(raised.value) and "PPDIFFUSERS_OFFLINE is set" in str(raised.value)
    assert not list(alone.iterdir()), "nothing was painted, and something written"


def test_the_upscaler_of_a_given_picture(run_here, alone):
    """Then no picture is painted first, and the published upscaler is what is missing."""
    PIL.Image.new("RGB", (8, 8)).save(alone / "small.png")
    with pytest.raises(SourceError, match=published_models(UPSCALER)["--model"]):
        run_here(UPSCALER, "--image", "small.png")


@every_script
def test_a_model_that_is_not_there_is_named(script, run_here, alone):
    options = [word for option in published_models(script) for word in (option, "./my/painter")]
    with pytest.raises(SourceError, match="my/painter"):
        run_here(script, *options)


def test_the_error_ends_the_program(tmp_path):
    script = INFERENCE / "text_to_image_generation-stable_diffusion.py"
    done = run_script(script, tmp_path)
    assert done.returncode == 1
    assert published_models(script)["--model"] in done.stderr and "PPDIFFUSERS_OFFLINE is set" in done.stderr
    assert not (tmp_path / "out").exists()
