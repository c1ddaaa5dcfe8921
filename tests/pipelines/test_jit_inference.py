"""The acceleration recipe of ppdiffusers 0.29: parts of a pipeline wrapped with `paddle.incubate.jit.inference`."""

import numpy as np
import paddle
import pytest

from ppdiffusers import StableDiffusionPipeline
from tests.pipelines.support import PROMPTS
from tests.support.checkpoints import tiny_stable_diffusion

CALL = {"prompt": PROMPTS[0], "generator": 2, "num_inference_steps": 2, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


def wrap(owner, name, folder):
    options = {"save_model_dir": str(folder), "cache_static_model": True, "enable_new_ir": True}
    setattr(owner, name, paddle.incubate.jit.inference(getattr(owner, name), **options))


def test_parts_give_the_same_images(folder, tmp_path):
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(**CALL).images
    for owner, name in ((pipe.text_encoder, "text_model"), (pipe, "unet"), (pipe.vae, "decode")):
        original = getattr(owner, name)
        wrap(owner, name, tmp_path / name)
        np.testing.assert_allclose(pipe(**CALL).images, expected, atol=2e-4, err_msg=name)
        assert list((tmp_path / name).rglob("infer*")), f"{name} was not wrapped"
        if name == "text_model":
            original.forward = type(original).forward.__get__(original)  # it has fixed shapes
    several = pipe(**{**CALL, "prompt": PROMPTS[:2], "generator": [2, 3]}).images
    np.testing.assert_allclose(several[0], expected[0], atol=2e-4)
