"""Bad sources and interruptions: one error that lists all problems, and no output."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ppdiffusers import convert_diffusers_to_paddle
from ppdiffusers.conversion import write
from ppdiffusers.core.errors import ConfigError, ConversionError, SourceError, UnsafeFileError
from tests.support.checkpoints import tiny_ddpm, tiny_stable_diffusion

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stable_diffusion(tmp_path) -> Path:
    return tiny_stable_diffusion(tmp_path)


def _refused(source: Path, tmp_path: Path, kind: type = ConversionError, **options) -> str:
    """Convert, expect an error, check that no file was left, and return the message."""
    before = set(tmp_path.iterdir())
    with pytest.raises(kind) as caught:
        convert_diffusers_to_paddle(source, tmp_path / "output", progress=False, **options)
    assert set(tmp_path.iterdir()) == before
    return str(caught.value)


def test_one_message_lists_all_problems(stable_diffusion, tmp_path):
    unet = stable_diffusion / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(unet)
    lost = tensors.pop("conv_in.bias")
    tensors["conv_in.bais"] = lost
    tensors["conv_out.weight"] = tensors["conv_out.weight"][:, :3].contiguous()
    save_file(tensors, unet, {"format": "pt"})
    vae = stable_diffusion / "vae" / "diffusion_pytorch_model.safetensors"
    vae.write_bytes(vae.read_bytes()[:-100])
    (stable_diffusion / "text_encoder" / "config.json").write_text("{not json")
    shutil.rmtree(stable_diffusion / "scheduler")
    (stable_diffusion / "tokenizer" / "vocab.json").unlink()
    (stable_diffusion / "feature_extractor" / "preprocessor_config.json").write_text("")
    message = _refused(stable_diffusion, tmp_path)
    for expected in ("conv_in.bias", "conv_in.bais", "conv_out.weight", "(4, 3, 3, 3)", "(4, 32, 3, 3)"):
        assert expected in message
    for name in ("unet", "vae", "text_encoder", "scheduler", "tokenizer", "feature_extractor"):
        assert f"- {name}: " in message
    assert "what to do" in message


def test_damaged_headers_of_all_weights_files(stable_diffusion, tmp_path):
    for path in stable_diffusion.rglob("*.safetensors"):
        path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    message = _refused(stable_diffusion, tmp_path)
    assert all(f"- {name}: " in message for name in ("unet", "vae", "text_encoder", "safety_checker"))


def test_truncated_pickle(tmp_path):
    source = tiny_ddpm(tmp_path, safe_serialization=False)
    path = source / "unet" / "diffusion_pytorch_model.bin"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "diffusion_pytorch_model.bin" in _refused(source, tmp_path)


class _Payload:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, zipped):
    source = tiny_ddpm(tmp_path, safe_serialization=False)
    path, target = source / "unet" / "diffusion_pytorch_model.bin", tmp_path / "owned"
    if zipped:
        torch.save({"conv_in.weight": _Payload(target)}, path)
    else:
        path.write_bytes(pickle.dumps({"conv_in.weight": _Payload(target)}))
    message = _refused(source, tmp_path)
    assert "mkdir" in message
    assert not target.exists()


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ({"unet": ["diffusers", "NoSuchModel"], "vae": ["other", "Thing"]}, ConfigError),
        ({"../outside": ["diffusers", "UNet2DModel"]}, UnsafeFileError),
        ({"unet": ["../../evil", "UNet2DModel"]}, UnsafeFileError),
        ({"/etc": ["diffusers", "UNet2DModel"]}, UnsafeFileError),
    ],
)
def test_index_with_unknown_or_unsafe_names(tmp_path, entries, kind):
    source = tiny_ddpm(tmp_path)
    index = json.loads((source / "model_index.json").read_text())
    (source / "model_index.json").write_text(json.dumps({**index, **entries}))
    message = _refused(source, tmp_path, kind)
    unsafe = {"unet": "evil"} if kind is UnsafeFileError and "unet" in entries else {}
    for name in entries:
        assert name in message
        assert unsafe.get(name, "") in message


@pytest.mark.parametrize(
    "entry",
    [["diffusers"], [], "UNet2DModel", {}, 5, ["diffusers", None], [None, "UNet2DModel"], None, [1, 2]],
    ids=str,
)
def test_malformed_component(tmp_path, entry):
    source = tiny_ddpm(tmp_path)
    index = json.loads((source / "model_index.json").read_text())
    (source / "model_index.json").write_text(json.dumps({**index, "unet": entry}))
    assert f"- unet: {entry!r}" in _refused(source, tmp_path, ConfigError)


@pytest.mark.parametrize("link", ["secret.txt", "unet/secret.txt", "unet/config.json", "scheduler", "other"])
def test_links_that_leave_the_folder(tmp_path, link):
    source, outside = tiny_ddpm(tmp_path), tmp_path / "outside"
    (tmp_path / "secret.txt").write_text("secret")
    if (source / link).exists():
        (source / link).rename(outside)
    else:
        outside.mkdir()
    (source / link).symlink_to(tmp_path / "secret.txt" if "secret" in link else outside)
    message = _refused(source, tmp_path, UnsafeFileError)
    assert f"- {link} -> {tmp_path}" in message


def test_links_inside_the_folder_and_in_hugging_faces_cache(tmp_path):
    source = tiny_ddpm(tmp_path)
    (source / "README.md").write_text("notes")
    (source / "copy.md").symlink_to("README.md")
    convert_diffusers_to_paddle(source, tmp_path / "one", progress=False)
    assert (tmp_path / "one" / "copy.md").read_text() == "notes" and not (tmp_path / "one" / "copy.md").is_symlink()
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for n, file in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(n))
        link.symlink_to(os.path.relpath(blobs / str(n), link.parent))
    convert_diffusers_to_paddle(snapshot, tmp_path / "two", progress=False)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_unknown_configuration_keys_warn_and_are_kept(tmp_path, caplog):
    source = tiny_ddpm(tmp_path)
    for file in (source / "unet" / "config.json", source / "scheduler" / "scheduler_config.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "brand_new_option": 3}))
    convert_diffusers_to_paddle(source, tmp_path / "output", progress=False)
    assert "UNet2DModel has unknown keys" in caplog.text and "DDPMScheduler has unknown keys" in caplog.text
    assert caplog.text.count("brand_new_option=3") == 2
    for name in ("unet/config.json", "scheduler/scheduler_config.json"):
        assert json.loads((tmp_path / "output" / name).read_text())["brand_new_option"] == 3


@pytest.mark.parametrize("values", [{"block_out_channels": "abc"}, {"layers_per_block": None}, {"in_channels": -3}])
def test_configurations_that_describe_no_network(tmp_path, values):
    source = tiny_ddpm(tmp_path)
    file = source / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    assert "- unet: " in _refused(source, tmp_path)


@pytest.mark.parametrize("name", ["NoSuchModel", {"a": 1}, None])
def test_single_component_of_an_unknown_class(tmp_path, name):
    source = tiny_ddpm(tmp_path) / "unet"
    file = source / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": name}))
    assert "UNet2DModel" in _refused(source, tmp_path, ConfigError)


def test_source_is_missing_or_not_a_model(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no-such-folder" in _refused(tmp_path / "no-such-folder", tmp_path, SourceError)
    assert "model_index.json" in _refused(tmp_path / "empty", tmp_path, SourceError)


def test_source_and_output_overlap(tmp_path):
    source = tiny_ddpm(tmp_path)
    listed = sorted(source.rglob("*"))
    for output in (source, source / "inside", source / "unet" / "inside", tmp_path):
        with pytest.raises(ConversionError):
            convert_diffusers_to_paddle(source, output, overwrite=True, progress=False)
    assert sorted(source.rglob("*")) == listed


def test_output_is_a_file(tmp_path):
    source = tiny_ddpm(tmp_path)
    (tmp_path / "output").write_text("mine")
    _refused(source, tmp_path, overwrite=True)
    assert (tmp_path / "output").read_text() == "mine"


def test_missing_shard(tmp_path):
    source = tiny_stable_diffusion(tmp_path, max_shard_size="200KB")
    shard = sorted((source / "unet").glob("*-of-*"))[1]
    shard.unlink()
    assert shard.name in _refused(source, tmp_path)


def test_insufficient_disk_space(tmp_path, monkeypatch):
    source = tiny_ddpm(tmp_path)
    usage = shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = _refused(source, tmp_path)
    assert "free: 1,000 bytes" in message


def test_disk_full_while_writing(tmp_path, monkeypatch):
    source = tiny_ddpm(tmp_path)

    def full(path, tensors):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(write, "write_pdparams", full)
    message = _refused(source, tmp_path)
    assert "disk is full" in message
    assert "free some space" in message


def test_write_error_of_the_system(tmp_path):
    """A real write error in the middle of the weights: the process may not write files larger than 1 MB."""
    source = tiny_ddpm(tmp_path)
    code = (
        "import resource, sys\n"
        "from ppdiffusers.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["--pretrained_model_name_or_path", str(source), "--output_path", str(tmp_path / "output"), "--quiet"]
    before = set(tmp_path.iterdir())
    command = [sys.executable, "-c", code, "convert", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "error: " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert set(tmp_path.iterdir()) == before


def test_failed_overwrite_keeps_the_output(tmp_path):
    source = tiny_ddpm(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "mine.txt").write_text("mine")
    path = source / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    _refused(source, tmp_path, overwrite=True)
    assert (tmp_path / "output" / "mine.txt").read_text() == "mine"


def test_interruption_leaves_no_output(tmp_path, monkeypatch):
    source = tiny_ddpm(tmp_path)

    def interrupted(path, tensors):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "write_pdparams", interrupted)
    _refused(source, tmp_path, KeyboardInterrupt)


def test_kill_leaves_no_output(tmp_path):
    """SIGKILL prevents any cleanup, and still there is no output folder."""
    source = tiny_ddpm(tmp_path)
    code = (
        "import sys, time\n"
        "from ppdiffusers.conversion import folder, write\n"
        "write_pdparams = write.write_pdparams\n"
        "def slow(path, tensors):\n"
        "    write_pdparams(path, tensors); print('written', flush=True); time.sleep(60)\n"
        "write.write_pdparams = slow\n"
        "folder.convert_diffusers_to_paddle(sys.argv[1], sys.argv[2], progress=False)\n"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "output")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "written"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "output").exists()
    convert_diffusers_to_paddle(source, tmp_path / "output", progress=False)  # converting again succeeds
    assert (tmp_path / "output" / "model_index.json").is_file()


def test_legacy_pickles_without_a_zip(tmp_path):
    source = tiny_ddpm(tmp_path, safe_serialization=False)
    path = source / "unet" / "diffusion_pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    convert_diffusers_to_paddle(source, tmp_path / "output", format="safetensors", progress=False)
    written = load_file(tmp_path / "output" / "unet" / "model_state.safetensors")
    np.testing.assert_array_equal(written["conv_in.weight"], state["conv_in.weight"])
