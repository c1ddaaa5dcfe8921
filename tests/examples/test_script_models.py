"""Models of the inference scripts: a local folder with PyTorch or Paddle weights, or the default model."""

import re
import runpy
import socket
import sys

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers import (
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    convert_diffusers_to_paddle,
    convert_paddle_to_diffusers,
)
from ppdiffusers.core.errors import SourceError
from ppdiffusers.models.adapters import create_lora
from tests.pipelines.support import assert_levels_agree
from tests.support.scripts import INFERENCE, ROOT, SCRIPTS, default_models, run_script

EMBEDDED = ROOT / "examples" / "assets" / "shapes-bilingual"
UPSCALER = INFERENCE / "text_guided_image_upscaling-latent_upscale.py"
IP_ADAPTER = INFERENCE / "text_to_image_generation-stable_diffusion_ip_adapter.py"
# Scripts with two models: folder of each tiny model -> its option.
MODELS = {
    UPSCALER: {"upscaler": "--model", "base": "--base_model"},
    **{
        script: {"base": "--model", "controlnet": "--controlnet_model"} for script in INFERENCE.glob("*_controlnet*.py")
    },
    **dict.fromkeys(
        (
            INFERENCE / f"{task}-deepfloyd_if.py"
            for task in (
                "text_to_image_generation",
                "image_to_image_text_guided_generation",
                "text_guided_image_inpainting",
            )
        ),
        {"base": "--model", "upscaler": "--upscaler_model"},
    ),
    IP_ADAPTER: {"base": "--model"},
    INFERENCE / "text_to_image_generation-t2i-adapter.py": {"base": "--model", "adapter": "--adapter_model"},
    INFERENCE / "text_to_image_generation-stable_diffusion_xl_t2i_adapter.py": {
        "base": "--model",
        "adapter": "--adapter_model",
        "depth": "--depth_model",
    },
    INFERENCE / "text_to_image_generation-sdxl_base_with_refiner.py": {"base": "--model", "refiner": "--refiner_model"},
}
# Folders that are used as they are: their files are those of the original repository.
ORIGINALS = {IP_ADAPTER: {"adapter": "--ip_adapter_model"}}
# Arguments that make a script fast.
FEW_STEPS = ("--num_inference_steps", "4")
QUICK = {
    **dict.fromkeys(
        ("text_to_image_generation-glide", "text_guided_image_inpainting-glide"),
        ("--respacing", "3", "--upsampler_respacing", "ddim2"),
    ),
    "text_to_speech_generation-grad_tts": (*FEW_STEPS, "--speaker", "1"),
    "unconditional_audio_generation-dance_diffusion": (*FEW_STEPS, "--seconds", "0.5"),
    "unconditional_image_generation-first_design": (),  # the scheduler of the tiny model has few steps
}

# It loads a file, which has one layout, and no default.
SINGLE_FILE = INFERENCE / "text_to_image_generation-single_file.py"
FOLDER_SCRIPTS = [script for script in SCRIPTS if script != SINGLE_FILE]
every_script = pytest.mark.parametrize("script", FOLDER_SCRIPTS, ids=lambda path: path.stem)


@pytest.fixture
def run_here(monkeypatch):
    """Run a script in this process: importing Paddle takes seconds."""
    monkeypatch.syspath_prepend(str(INFERENCE))

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")

    return run


@pytest.fixture
def small_images(monkeypatch):
    """Input images of a quarter of the height and width."""
    monkeypatch.syspath_prepend(str(INFERENCE))
    import image_utils

    def smaller(load):
        return lambda path, *size: load(path, *(max(32, length // 4) for length in size))

    monkeypatch.setattr(image_utils, "load", smaller(image_utils.load))
    monkeypatch.setattr(image_utils, "load_mask", smaller(image_utils.load_mask))


def images_in(folder):
    """Name -> image [H, W, 3] of everything that a script wrote."""
    found = {file.name: np.asarray(PIL.Image.open(file).convert("RGB")) for file in folder.glob("*.png")}
    assert found and all(image.std() > 5 for image in found.values()), "an image is nearly uniform"
    return found


def assert_images_agree(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, image in ours.items():
        assert_levels_agree(image, theirs[name])


def weights_of(folder):
    """Suffixes of the weights files in a folder."""
    return {file.suffix for file in folder.rglob("*") if file.suffix in (".safetensors", ".pdparams", ".bin")}


def test_embedded_checkpoint_in_both_layouts(tmp_path):
    """The image is that of the pipeline: the script passes all its arguments on."""
    script = INFERENCE / "text_to_image_generation-stable_diffusion.py"
    prompt, generated = "一个红色的圆形，白色背景", []
    convert_diffusers_to_paddle(EMBEDDED, tmp_path / "paddle", progress=False)
    assert weights_of(EMBEDDED) == {".safetensors"} and weights_of(tmp_path / "paddle") == {".pdparams"}
    for model in (EMBEDDED, tmp_path / "paddle"):
        folder = tmp_path / f"run{len(generated)}"
        folder.mkdir()
        arguments = ("--prompt", prompt, "--num_inference_steps", "2", "--guidance_scale", "3", "--seed", "5")
        done = run_script(script, folder, "--model", str(model), *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        generated.append(images_in(folder / "out"))
    assert_images_agree(*generated)
    pipe = StableDiffusionPipeline.from_pretrained(EMBEDDED)
    expected = pipe(prompt, num_inference_steps=2, guidance_scale=3.0, generator=5).images[0]
    assert_levels_agree(generated[0]["image.png"], np.asarray(expected))


@every_script
def test_local_folders_in_both_layouts(script, run_here, small_images, tmp_path, capsys):
    """The tiny models of `--tiny`, converted: this is a run without `--tiny`, too."""
    run_here(script, "--tiny", "--output_dir", tmp_path / "made")
    made = tmp_path / "made" / "tiny"
    options = MODELS.get(script, {"": "--model"})
    for part in options:
        convert_paddle_to_diffusers(made / part, tmp_path / "torch" / part, progress=False)
        convert_diffusers_to_paddle(tmp_path / "torch" / part, tmp_path / "paddle" / part, progress=False)
    assert weights_of(tmp_path / "torch") == {".safetensors"} and weights_of(tmp_path / "paddle") == {".pdparams"}
    quick = QUICK.get(script.stem, FEW_STEPS)
    generated = []
    for layout in ("torch", "paddle"):
        models = [word for part, option in options.items() for word in (option, tmp_path / layout / part)]
        models += [word for part, option in ORIGINALS.get(script, {}).items() for word in (option, made / part)]
        capsys.readouterr()
        run_here(script, *models, *quick, "--output_dir", tmp_path / "out" / layout)
        assert str(tmp_path / "out" / layout) in capsys.readouterr().out
        generated.append(images_in(tmp_path / "out" / layout))
    assert_images_agree(*generated)


# -- the default model ----------------------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty working directory, offline, with empty caches; opening a socket fails."""

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
def test_default_model(script, run_here, offline):
    defaults = default_models(script)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in defaults.values())
    with pytest.raises(SourceError) as raised:
        run_here(script)
    # a script with several models loads the base model first, but a network before the pipeline that it is passed to
    order = ("--controlnet_model", "--adapter_model", "--base_model", "--model")
    first = next(defaults[name] for name in order if name in defaults)
    assert first in str(raised.value) and "PPDIFFUSERS_OFFLINE is set" in str(raised.value)
    assert not list(offline.iterdir()), "files were written without a result"


def test_upscaler_with_an_image(run_here, offline):
    """No base model is loaded: the missing model is the upscaler."""
    PIL.Image.new("RGB", (8, 8)).save(offline / "small.png")
    with pytest.raises(SourceError, match=default_models(UPSCALER)["--model"]):
        run_here(UPSCALER, "--image", "small.png")


def test_lora_of_a_file(run_here, tmp_path):
    """The file of `--lora` changes the image, `--lora_scale 0` does not."""
    script = INFERENCE / "text_to_image_generation-stable_diffusion_xl.py"
    run_here(script, "--tiny", "--output_dir", tmp_path / "base")
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "base" / "tiny", subfolder="unet")
    layers = create_lora(unet, ["to_q", "to_v", "ff.net.2"], rank=2)
    for delta in layers.values():
        delta.up.set_value(paddle.ones_like(delta.up))
    StableDiffusionXLPipeline.save_lora_weights(tmp_path / "lora", layers)
    for scale in (0, 1):
        options = ("--lora", tmp_path / "lora", "--lora_scale", scale, "--output_dir", tmp_path / f"{scale}")
        run_here(script, "--model", tmp_path / "base" / "tiny", "--num_inference_steps", 3, *options)
    images = [np.asarray(PIL.Image.open(tmp_path / name / "image.png")) for name in ("base", "0", "1")]
    assert np.array_equal(images[0], images[1]) and not np.array_equal(images[1], images[2])


@every_script
def test_missing_local_model(script, run_here, offline):
    options = [word for option in default_models(script) for word in (option, "./my/model")]
    with pytest.raises(SourceError, match="my/model"):
        run_here(script, *options)


def test_single_file(run_here, tmp_path, offline):
    """The file and the configuration of `--tiny`; a file that does not exist."""
    run_here(SINGLE_FILE, "--tiny", "--output_dir", tmp_path / "made")
    tiny = tmp_path / "made" / "tiny"
    files = ("--file", tiny / "model.safetensors", "--config", tiny / "config")
    run_here(SINGLE_FILE, *files, "--num_inference_steps", "3", "--output_dir", tmp_path / "out")
    assert_images_agree(images_in(tmp_path / "out"), images_in(tmp_path / "made"))
    with pytest.raises(SourceError, match="no.safetensors"):
        run_here(SINGLE_FILE, "--file", "no.safetensors")


def test_error_exits_with_status_1(tmp_path):
    script = INFERENCE / "text_to_image_generation-stable_diffusion.py"
    done = run_script(script, tmp_path)
    assert done.returncode == 1
    assert default_models(script)["--model"] in done.stderr and "PPDIFFUSERS_OFFLINE is set" in done.stderr
    assert not (tmp_path / "out").exists()
