"""`--verify` runs both frameworks, reports their distance, and fails the conversion if they disagree."""

from __future__ import annotations

import numpy as np
import pytest

from ppdiffusers import convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.cli.main import main
from ppdiffusers.conversion import write
from ppdiffusers.conversion.verify import MODEL_TOLERANCE, distances, largest_distance, relative_distance
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.tensors import LazyTensor
from tests.support.checkpoints import tiny_ddpm, tiny_stable_diffusion

SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)


@pytest.mark.parametrize("variant", ["sd1", "sd2"])
def test_every_component_of_stable_diffusion_agrees(tmp_path, variant):
    source = tiny_stable_diffusion(tmp_path, variant=variant)
    there = convert_diffusers_to_paddle(source, tmp_path / "paddle", verify=True, progress=False)
    back = convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "torch", verify=True, progress=False)
    for report in (there, back):
        assert len(report.components) == 7
        assert all(0 <= component.distance <= MODEL_TOLERANCE for component in report.components)
        assert any(component.distance > 0 for component in report.components)  # two frameworks never agree bit for bit
        assert "distance" in str(report)


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"dtype": "bfloat16"}, {"layout": "paddlenlp"}])
def test_cast_or_renamed_weights_agree(tmp_path, options):
    source = tiny_stable_diffusion(tmp_path)
    report = convert_diffusers_to_paddle(source, tmp_path / "paddle", verify=True, progress=False, **options)
    assert all(component.distance <= MODEL_TOLERANCE for component in report.components)


def test_variant_is_verified_against_the_same_variant(tmp_path):
    source = tiny_stable_diffusion(tmp_path, dtype="float16", file_variant="fp16", safety_checker=False)
    report = convert_diffusers_to_paddle(source, tmp_path / "paddle", verify=True, variant="fp16", progress=False)
    assert all(component.distance <= MODEL_TOLERANCE for component in report.components)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_agrees(tmp_path, scheduler):
    source = tiny_stable_diffusion(tmp_path, scheduler=scheduler) / "scheduler"
    report = convert_diffusers_to_paddle(source, tmp_path / "paddle", verify=True, progress=False)
    assert report.components[0].distance <= 1e-5


def test_disagreement_names_the_component_and_leaves_no_output(tmp_path, monkeypatch, capsys):
    """A square matrix that is written without transposing: shapes match, outputs differ."""
    source = tiny_stable_diffusion(tmp_path)
    write_pdparams = write.write_pdparams

    def wrong(path, tensors):
        for name, tensor in tensors.items():
            if name.endswith("attn2.to_k.weight") and tensor.shape[0] == tensor.shape[1]:
                tensors[name] = LazyTensor.of(np.ascontiguousarray(tensor.read().T))
        write_pdparams(path, tensors)

    monkeypatch.setattr(write, "write_pdparams", wrong)
    arguments = ["--pretrained_model_name_or_path", str(source), "--output_path", str(tmp_path / "paddle")]
    assert main(["convert", *arguments, "--verify", "--quiet"]) == 1
    message = capsys.readouterr().err
    assert "- unet: " in message
    assert "- vae: " not in message
    assert "relative distance" in message
    assert not (tmp_path / "paddle").exists()


def test_ddpm_agrees(tmp_path):
    report = convert_diffusers_to_paddle(tiny_ddpm(tmp_path), tmp_path / "paddle", verify=True, progress=False)
    assert {component.name for component in report.components if component.distance is not None} == {
        "unet",
        "scheduler",
    }


def test_relative_distance():
    assert relative_distance(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert relative_distance(np.array([1.0]), np.array([1.0, 1.0])) == np.inf
    assert relative_distance(np.array([np.nan]), np.array([1.0])) == np.inf


def test_all_outputs_that_differ_are_listed():
    ours = {"a": np.array([1.0]), "b": np.array([1.0]), "c": np.array([1.0])}
    theirs = {"a": np.array([1.0]), "b": np.array([2.0]), "c": np.array([3.0])}
    with pytest.raises(ConversionError) as caught:
        largest_distance("it", distances(ours, theirs, 1e-4))
    assert "b: " in str(caught.value)
    assert "c: " in str(caught.value)
    assert "a: " not in str(caught.value)
