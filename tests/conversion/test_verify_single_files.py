"""`convert --from single_file --verify` compares with the file as diffusers loads it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ppdiffusers.cli.main import main
from ppdiffusers.conversion.single_file import convert_single_file
from ppdiffusers.convert.rules import Rename
from ppdiffusers.convert.single_files import layouts
from ppdiffusers.core.errors import ConversionError
from tests.support import originals
from tests.support.single_files import (
    averages_of,
    left_by_training,
    original_tensors,
    tiny_pipeline,
    tiny_vae,
    write_single_file,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder in diffusers' format, file, and the same with averaged weights."""
    root = tmp_path_factory.mktemp("sd1")
    folder = tiny_pipeline(root, "sd1")
    tensors = original_tensors(folder, "sd1")
    file = write_single_file(root / "model.safetensors", tensors)
    return folder, file, write_single_file(root / "ema.ckpt", tensors | averages_of(tensors) | left_by_training())


def swapped(class_name: str, first: str, second: str) -> tuple[layouts.Layout, ...]:
    """The layouts of a class with the names of two layers exchanged."""
    names = {first: second, second: first}

    def exchange(rules):
        return lambda config: tuple(
            replace(rule, source=names[rule.source]) if isinstance(rule, Rename) and rule.source in names else rule
            for rule in rules(config)
        )

    return tuple(replace(layout, rules=exchange(layout.rules)) for layout in layouts.LAYOUTS[class_name])


@pytest.mark.parametrize("to", ["paddle", "diffusers"])
def test_a_file_with_averages(to, files, tmp_path):
    folder, _, file = files
    report = convert_single_file(file, tmp_path / "out", config=folder, to=to, ema=True, verify=True, progress=False)
    found = {component.name: component.distance for component in report.components}
    assert found.keys() == {"vae", "unet", "text_encoder", "tokenizer", "scheduler"}
    assert all(distance is not None and distance <= 1e-4 for distance in found.values())
    assert found["unet"] > 0  # computed, and not the same twice


@pytest.mark.parametrize("to", ["paddle", "diffusers"])
@pytest.mark.parametrize(
    ("class_name", "component", "names"),
    [
        ("UNet2DConditionModel", "unet", ("input_blocks.4.0.in_layers.0.*", "input_blocks.5.0.in_layers.0.*")),
        ("AutoencoderKL", "vae", ("encoder.mid.attn_1.q.weight", "encoder.mid.attn_1.k.weight")),
    ],
)
def test_exchanged_names_are_found(class_name, component, names, to, files, tmp_path, monkeypatch):
    """Both folders are written by the same table: only the original shows that it is wrong."""
    folder, file, _ = files
    wrong = swapped(class_name, *names)
    monkeypatch.setitem(layouts.LAYOUTS, class_name, wrong)
    with pytest.raises(ConversionError, match=f"{component}: The two frameworks disagree") as error:
        convert_single_file(file, tmp_path / "out", config=folder, to=to, verify=True, progress=False)
    assert len(error.value.problems) == 1
    assert not (tmp_path / "out").exists()


def test_one_network(tmp_path, monkeypatch):
    vae = tiny_vae("sd1")
    vae.save_pretrained(tmp_path / "vae")
    file = write_single_file(tmp_path / "vae.safetensors", originals.autoencoder(vae))
    arguments = ["--pretrained_model_name_or_path", str(file), "--config", str(tmp_path / "vae"), "--quiet"]
    command = ["convert", "--from", "single_file", *arguments, "--verify"]
    assert main([*command, "--output_path", str(tmp_path / "out")]) == 0
    monkeypatch.setitem(
        layouts.LAYOUTS,
        "AutoencoderKL",
        swapped("AutoencoderKL", "decoder.mid.block_1.conv1.*", "decoder.mid.block_2.conv1.*"),
    )
    assert main([*command, "--output_path", str(tmp_path / "wrong")]) == 1
    assert not (tmp_path / "wrong").exists()


def test_diffusers_does_not_load_the_file(tmp_path, monkeypatch):
    import diffusers

    def refuse(*args, **kwargs):
        raise ValueError("no such layout")

    vae = tiny_vae("sd1")
    vae.save_pretrained(tmp_path / "vae")
    file = write_single_file(tmp_path / "vae.safetensors", originals.autoencoder(vae))
    monkeypatch.setattr(diffusers.AutoencoderKL, "from_single_file", refuse)
    with pytest.raises(ConversionError, match="without --verify") as error:
        convert_single_file(file, tmp_path / "out", config=tmp_path / "vae", verify=True, progress=False)
    assert "ValueError: no such layout" in str(error.value)
