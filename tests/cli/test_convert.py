"""The conversion scripts and `ppdiffusers convert`: exit codes and output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdiffusers.cli.main import main
from tests.support.checkpoints import tiny_ddpm

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "paddle": [sys.executable, "scripts/convert/convert_diffusers_to_paddle.py"],
    "diffusers": [sys.executable, "scripts/convert/convert_paddle_to_diffusers.py"],
}


def _arguments(source: Path, output: Path, *more: str) -> list[str]:
    return ["--pretrained_model_name_or_path", str(source), "--output_path", str(output), *more]


def _run(*command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)


def test_scripts_there_and_back(tmp_path):
    source = tiny_ddpm(tmp_path)
    there = _run(*SCRIPTS["paddle"], *_arguments(source, tmp_path / "paddle"))
    assert there.returncode == 0, there.stderr
    for word in ("unet", "tensors", "parameters", "dtype", "bytes", "sha256", "float32"):
        assert word in there.stdout
    assert "100%" in there.stderr
    back = _run(*SCRIPTS["diffusers"], *_arguments(tmp_path / "paddle", tmp_path / "torch", "--quiet"))
    assert (back.returncode, back.stdout) == (0, "")
    assert "%" not in back.stderr
    name = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "torch/unet" / name).read_bytes() != b""


def test_conversion_without_torch(tmp_path):
    """Converting imports neither torch nor diffusers nor transformers nor paddlenlp."""
    source = tiny_ddpm(tmp_path)
    code = (
        "import sys\n"
        "from ppdiffusers.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "found = {'torch', 'diffusers', 'transformers', 'paddlenlp'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    ran = _run(sys.executable, "-c", code, "convert", *_arguments(source, tmp_path / "paddle"))
    assert ran.returncode == 0, ran.stderr


def test_direction_is_detected_and_printed(tmp_path, capsys):
    source = tiny_ddpm(tmp_path)
    assert main(["convert", *_arguments(source, tmp_path / "paddle")]) == 0
    assert "converting to paddle" in capsys.readouterr().out
    assert main(["convert", *_arguments(tmp_path / "paddle", tmp_path / "torch")]) == 0
    assert "converting to diffusers" in capsys.readouterr().out
    assert (tmp_path / "torch/unet/diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.parametrize("name", ["scheduler", "unet"])
def test_direction_of_a_single_component(tmp_path, capsys, name):
    source = tiny_ddpm(tmp_path)
    assert main(["convert", *_arguments(source / name, tmp_path / "paddle")]) == 0
    assert "converting to paddle" in capsys.readouterr().out
    assert main(["convert", *_arguments(tmp_path / "paddle", tmp_path / "torch")]) == 0
    assert "converting to diffusers" in capsys.readouterr().out


def test_options_reach_the_conversion(tmp_path):
    source = tiny_ddpm(tmp_path)
    options = ["--to", "paddle", "--dtype", "bfloat16", "--format", "safetensors", "--quiet"]
    assert main(["convert", *_arguments(source, tmp_path / "paddle", *options)]) == 0
    header = (tmp_path / "paddle/unet/model_state.safetensors").read_bytes()[:20000]
    assert b'"BF16"' in header
    assert b'"F32"' not in header


def test_error_is_one_message_on_stderr(tmp_path):
    source = tiny_ddpm(tmp_path)
    path = source / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (source / "scheduler" / "scheduler_config.json").unlink()
    for command in (SCRIPTS["paddle"], [sys.executable, "-m", "ppdiffusers.cli", "convert"]):
        failed = _run(*command, *_arguments(source, tmp_path / "paddle", "--quiet"))
        assert failed.returncode == 1
        assert failed.stdout.count("\n") <= 1  # the detected direction at most
        assert "Traceback" not in failed.stderr
        assert "error: " in failed.stderr
        assert "- unet: " in failed.stderr
        assert "- scheduler: " in failed.stderr
        assert "what to do" in failed.stderr
        assert not (tmp_path / "paddle").exists()


def test_verify_without_torch_prints_the_install_command(tmp_path):
    source = tiny_ddpm(tmp_path)
    code = (
        "import sys\n"
        "sys.modules['diffusers'] = None\n"  # importing it raises ModuleNotFoundError
        "from ppdiffusers.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "convert", *_arguments(source, tmp_path / "paddle", "--verify", "--quiet")]
    ran = _run(*command)
    assert ran.returncode == 1
    assert "pip install 'ppdiffusers[verify]'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "paddle").exists()


def test_existing_output_needs_overwrite(tmp_path, capsys):
    source = tiny_ddpm(tmp_path)
    arguments = ["convert", *_arguments(source, tmp_path / "paddle", "--quiet")]
    assert main(arguments) == 0
    assert main([*arguments, "--to", "paddle"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def test_ctrl_c(tmp_path, capsys, monkeypatch):
    source = tiny_ddpm(tmp_path)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppdiffusers.conversion.write.write_pdparams", interrupted)
    assert main(["convert", *_arguments(source, tmp_path / "paddle", "--quiet")]) == 130
    assert "Interrupted" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_help_does_not_import_paddle():
    code = "import sys\nfrom ppdiffusers.cli.main import main\ntry: main(['convert', '--help'])\nfinally: print('paddle' in sys.modules)"  # noqa: E501
    ran = _run(sys.executable, "-c", code)
    assert ran.stdout.strip().endswith("False")
    assert "--pretrained_model_name_or_path" in ran.stdout
