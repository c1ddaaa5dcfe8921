"""`export`: programs run without model code and agree with eager mode."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers import DDIMScheduler, DDPMPipeline, StableDiffusionPipeline, UNet2DModel
from ppdiffusers.cli.main import main
from ppdiffusers.core.errors import ConversionError, InputError, SourceError
from ppdiffusers.runtime.export import ExportedProgram, export_programs
from tests.runtime.support import relative_distance, tiny_text_encoder, tiny_unet, unet_inputs, with_random_weights

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "examples" / "assets" / "shapes-bilingual"


def test_a_pipeline_is_exported_and_runs_without_model_code(tmp_path, capsys):
    """The command line exports it; a process that cannot import the models gives the results of eager mode."""
    arguments = ["export", str(SHAPES), str(tmp_path / "out"), "--prompt", "a red circle", "--num_inference_steps", "1"]
    assert main([*arguments, "--height", "32", "--width", "48"]) == 0
    programs = {path.name for path in (tmp_path / "out").iterdir()}
    assert programs == {"text_encoder", "unet", "vae_decoder"}
    printed = capsys.readouterr().out
    assert all(name in printed for name in programs)

    pipe = StableDiffusionPipeline.from_pretrained(SHAPES, compile="off")
    config, factor = pipe.unet.config, pipe.vae_scale_factor
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2, config.in_channels, 32 // factor, 48 // factor)).astype("float32")
    text = rng.standard_normal((2, pipe.tokenizer.model_max_length, config.cross_attention_dim)).astype("float32")
    with paddle.no_grad():
        wanted = pipe.unet(paddle.to_tensor(sample), 41, paddle.to_tensor(text), return_dict=False)[0].numpy()
    np.savez(tmp_path / "inputs.npz", sample=sample, text=text)
    code = textwrap.dedent(
        f"""
        import sys
        sys.modules["ppdiffusers.pipelines"] = sys.modules["ppdiffusers.transformers"] = None
        sys.modules["ppdiffusers.models.unets"] = None
        import numpy as np, paddle
        from ppdiffusers.runtime.export import ExportedProgram
        given = np.load({str(tmp_path / "inputs.npz")!r})
        program = ExportedProgram({str(tmp_path / "out" / "unet")!r})
        result = program.run([paddle.to_tensor(given["sample"]), paddle.to_tensor(41), paddle.to_tensor(given["text"])])
        np.save({str(tmp_path / "found.npy")!r}, result[0].numpy())
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npy")
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_an_unconditional_pipeline(tmp_path):
    types = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    unet = with_random_weights(
        UNet2DModel(sample_size=(8, 12), block_out_channels=(32, 64), layers_per_block=1, **types)
    )
    pipe = DDPMPipeline(unet=unet, scheduler=DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    found = pipe.export(tmp_path / "out", batch_size=2, num_inference_steps=1)
    assert set(found) == {"unet"} and found["unet"] <= 1e-4


def test_numbers_are_inputs_and_shapes_are_fixed(tmp_path):
    unet = tiny_unet()
    with paddle.no_grad():
        export_programs({"unet": unet}, lambda: unet(*unet_inputs(timestep=7)), tmp_path / "out")
        program = ExportedProgram(tmp_path / "out" / "unet")
        for timestep in (7, 981):
            inputs = unet_inputs(timestep=timestep)
            assert relative_distance(program(*inputs)["sample"], unet(*inputs).sample) <= 1e-4
    with pytest.raises(InputError, match="exported for other arguments"):
        program(*unet_inputs(batch=1))


def test_networks_are_unchanged(tmp_path):
    encoder, ids = tiny_text_encoder(), paddle.to_tensor([[3, 5, 98]])
    wanted = encoder(ids)[0].numpy()
    export_programs({"text_encoder": encoder}, lambda: encoder(ids), tmp_path / "out")
    assert "forward" not in encoder.__dict__
    assert np.array_equal(encoder(ids)[0].numpy(), wanted)


def test_a_program_that_disagrees_is_not_written(tmp_path, monkeypatch):
    unet = tiny_unet()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "earlier").write_text("kept")
    run = ExportedProgram.run
    monkeypatch.setattr(ExportedProgram, "run", lambda self, t: {"sample": run(self, t)["sample"] + 1.0})
    with pytest.raises(ConversionError, match=r"(?s)nothing was written.*unet: "):
        export_programs({"unet": unet}, lambda: unet(*unet_inputs()), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["earlier"]


def test_invalid_calls_are_rejected(tmp_path, capsys):
    with pytest.raises(InputError, match="none of the networks"):
        export_programs({"unet": tiny_unet()}, lambda: None, tmp_path / "out")
    with pytest.raises(SourceError, match="not written by `ppdiffusers export`"):
        ExportedProgram(tmp_path)
    assert main(["export", str(tmp_path / "nothing"), str(tmp_path / "out")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
