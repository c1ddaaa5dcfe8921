"""Wrong settings of checkpoints of 2022: each pipeline corrects those that diffusers corrects, and no others."""

import json
import warnings

import diffusers
import pytest
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_stable_diffusion_inpaint_legacy import (
    StableDiffusionInpaintPipelineLegacy,
)

import ppdiffusers
from tests.support.checkpoints import tiny_stable_diffusion

CLASSES = (
    diffusers.StableDiffusionPipeline,
    diffusers.StableDiffusionImg2ImgPipeline,
    diffusers.StableDiffusionInpaintPipeline,
    StableDiffusionInpaintPipelineLegacy,
    diffusers.StableDiffusionInstructPix2PixPipeline,
    diffusers.CycleDiffusionPipeline,
)
WRONG = {
    "DDIMScheduler": {"steps_offset": 0, "clip_sample": True},
    "PNDMScheduler": {"steps_offset": 0, "skip_prk_steps": False},
}


@pytest.fixture(scope="module", params=WRONG)
def folder(request, tmp_path_factory):
    folder = tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), scheduler=request.param)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **WRONG[request.param]}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("original", CLASSES, ids=lambda cls: cls.__name__)
def test_corrected_settings_agree_with_diffusers(folder, original):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine = getattr(ppdiffusers, original.__name__).from_pretrained(folder).scheduler.config
        reference = original.from_pretrained(folder).scheduler.config
    wrong = WRONG[reference["_class_name"]]
    assert {key: mine[key] for key in wrong} == {key: reference[key] for key in wrong}
