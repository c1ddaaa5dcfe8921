"""Every pipeline without a prompt shows a bar that counts all of its steps, and none where it is turned off."""

import re

import numpy as np
import pytest

from ppdiffusers import DDPMPipeline, DiffusionPipeline, ScoreSdeVpPipeline, ScoreSdeVpScheduler
from tests.pipelines.support import box_mask, make_image
from tests.support.unconditional import tiny_unconditional

KEPT = {"image": make_image(32, 32), "mask_image": box_mask(32, 32, (0, 0, 32, 20))}
# pipeline -> what its call needs besides the number of steps
CALLS = {
    "DDPMPipeline": {},
    "DDIMPipeline": {},
    "PNDMPipeline": {},
    "LDMPipeline": {},
    "ScoreSdeVePipeline": {},
    "ScoreSdeVpPipeline": {},
    "KarrasVePipeline": {},
    "RePaintPipeline": {**KEPT, "jump_length": 2, "jump_n_sample": 2},
    "DanceDiffusionPipeline": {},
}


def tiny(name, folder):
    """The pipeline, which its folder names; the VP SDE's is that of another pipeline."""
    pipeline = DiffusionPipeline.from_pretrained(tiny_unconditional(name, folder))
    if name == "ScoreSdeVpPipeline":
        assert isinstance(pipeline, DDPMPipeline)
        return ScoreSdeVpPipeline(pipeline.unet, ScoreSdeVpScheduler())
    return pipeline


@pytest.mark.parametrize("name", CALLS)
def test_the_progress_bar_can_be_turned_off(name, tmp_path, capsys):
    pipeline = tiny(name, tmp_path)
    assert type(pipeline).__name__ == name
    settings = {**CALLS[name], "num_inference_steps": 4, "generator": 0, "return_dict": False}

    (shown,) = pipeline(**settings)
    error = capsys.readouterr().err
    steps = len(pipeline.scheduler.timesteps)
    assert steps >= 4
    assert "100%" in error and re.findall(r"(\d+)/(\d+) ", error)[-1] == (str(steps), str(steps))

    pipeline.set_progress_bar_config(desc="generating")
    pipeline(**settings)
    assert "generating: 100%" in capsys.readouterr().err

    pipeline.set_progress_bar_config(disable=True)
    (quiet,) = pipeline(**settings)
    printed = capsys.readouterr()
    assert printed.err == printed.out == ""
    np.testing.assert_array_equal(np.asarray(quiet), np.asarray(shown))
