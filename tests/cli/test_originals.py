"""`ppdiffusers convert --from FAMILY` and its script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ppdiffusers
from ppdiffusers.cli.main import main
from ppdiffusers.convert.checkpoints.families import FAMILIES
from tests.cli.test_convert import ROOT, _arguments, _run
from tests.conversion.test_originals import GUIDED, guided_unet
from tests.support import originals


@pytest.fixture
def guided(tmp_path) -> tuple[Path, Path]:
    """A checkpoint of guided-diffusion and its flags, without `attention_resolutions`."""
    unet = guided_unet(
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    torch.save(originals.guided_diffusion(unet), tmp_path / "ema.pt")
    (tmp_path / "flags.json").write_text(json.dumps(GUIDED))
    return tmp_path / "ema.pt", tmp_path / "flags.json"


def test_help_lists_every_family(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for name, family in FAMILIES.items():
        assert f"{name}: {family.help}" in printed
        assert callable(family.reader().read) and callable(family.reader().layouts)


def test_checkpoint_from_the_command_line(tmp_path, guided, capsys):
    file, config = guided
    more = ["--from", "guided_diffusion", "--config", str(config), "--set", "attention_resolutions=4"]
    more += ["--format", "safetensors", "--dtype", "float16"]
    assert main(["convert", *_arguments(file, tmp_path / "paddle", *more)]) == 0
    printed = capsys.readouterr().out
    assert "unet" in printed
    assert "float16" in printed
    assert (tmp_path / "paddle/unet/model_state.safetensors").is_file()
    assert isinstance(ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "paddle"), ppdiffusers.DDPMPipeline)


def test_there_and_back_from_the_command_line(tmp_path, guided, capsys):
    file, config = guided
    more = ["--from", "guided_diffusion", "--config", str(config), "--set", "attention_resolutions=4", "--quiet"]
    assert main(["convert", *_arguments(file, tmp_path / "paddle", *more)]) == 0
    assert main(["convert", "--to", "guided_diffusion", *_arguments(tmp_path / "paddle", tmp_path / "back")]) == 0
    assert "guided-diffusion" in capsys.readouterr().out
    back = load_file(tmp_path / "back/model.safetensors")
    for name, tensor in torch.load(file).items():
        assert torch.equal(back[name], tensor), name
    assert main(["convert", "--to", "ddpm", *_arguments(tmp_path / "paddle", tmp_path / "ddpm", "--verify")]) == 1
    assert "--verify" in capsys.readouterr().err


def test_script_needs_no_torch(tmp_path, guided):
    file, config = guided
    script = str(ROOT / "scripts/convert/convert_original_to_paddle.py")
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "found = {'torch', 'diffusers', 'transformers', 'paddlenlp'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    more = ["--from", "guided_diffusion", "--config", str(config), "--set", "attention_resolutions=4", "--quiet"]
    ran = _run(sys.executable, "-c", code, script, *_arguments(file, tmp_path / "paddle", *more))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "paddle/model_index.json").is_file()


def test_arguments_for_another_kind_of_source(tmp_path, guided, capsys):
    file, config = guided
    assert main(["convert", *_arguments(file, tmp_path / "out", "--config", str(config), "--no_ema")]) == 1
    message = capsys.readouterr().err
    assert "--config" in message
    assert "--no_ema" in message
    assert "--from" in message
    assert main(["convert", *_arguments(file, tmp_path / "out", "--from", "ddpm", "--variant", "fp16")]) == 1
    assert "--variant" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_family(tmp_path, guided):
    ran = subprocess.run(
        [sys.executable, "-m", "ppdiffusers.cli", "convert", *_arguments(guided[0], tmp_path / "out", "--from", "gan")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 2
    assert "guided_diffusion" in ran.stderr
