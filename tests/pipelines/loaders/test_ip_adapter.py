"""IP-Adapters of Stable Diffusion pipelines against diffusers, live: every kind of file and every method."""

import logging

import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers.core.errors import InputError, SourceError, WeightsError
from ppdiffusers.image_processor import IPAdapterMaskProcessor
from ppdiffusers.models.adapters.ip_adapter import has_ip_adapters
from tests.pipelines.support import PROMPTS, assert_images_agree, box_mask, call_both, load_both, make_image
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.ip_adapter import FACE, FOLDER, VISION_WIDTH, ip_adapter_tensors, save_ip_adapter, save_ip_adapters
from tests.support.parity import assert_close, noise

CALL = {"prompt": PROMPTS, "num_inference_steps": 2, "height": 24, "width": 40, "output_type": "np"}
IMAGE, OTHER = make_image(50, 36, seed=1), make_image(32, 44, seed=2)
IMAGES = {"base": IMAGE, "plus": OTHER, "full": IMAGE}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """(ours, diffusers', repository of adapters)."""
    ours, theirs = load_both(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False))
    return ours, theirs, save_ip_adapters(tmp_path_factory.mktemp("adapters"), theirs.unet)


@pytest.fixture
def pair(loaded):
    """(ours, diffusers') without adapters."""
    *pipelines, _ = loaded
    yield tuple(pipelines)
    for pipeline in pipelines:
        pipeline.unload_ip_adapter()
        pipeline.unload_lora_weights()


@pytest.fixture
def repository(loaded):
    return loaded[2]


def file_name(kind: str) -> str:
    return f"{kind}.bin" if kind in ("full", "face_id_plus") else f"{kind}.safetensors"


def load(pair, repository, *kinds, **options):
    names = [file_name(kind) for kind in kinds]
    for pipeline in pair:
        pipeline.load_ip_adapter(str(repository), FOLDER, names[0] if len(names) == 1 else names, **options)


def unet_outputs(ours, theirs, images, batch=2, **kwargs):
    """Outputs of the UNets for image embeddings, given as arrays."""
    sample, prompt = noise((batch, 4, 12, 20)), noise((batch, 77, 32), "embeds")
    with torch.no_grad():
        theirs_kwargs = {"added_cond_kwargs": {"image_embeds": [torch.from_numpy(x) for x in images]}, **kwargs}
        reference = theirs.unet(torch.from_numpy(sample), 7, torch.from_numpy(prompt), **theirs_kwargs).sample
    with paddle.no_grad():
        ours_kwargs = {"added_cond_kwargs": {"image_embeds": [paddle.to_tensor(x) for x in images]}, **kwargs}
        return ours.unet(paddle.to_tensor(sample), 7, paddle.to_tensor(prompt), **ours_kwargs).sample, reference


# -- kinds of files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("guidance_scale", [5.0, 1.0], ids=["guided", "unguided"])
def test_kinds(pair, repository, kind, guidance_scale):
    without = pair[0](**CALL, generator=3).images
    load(pair, repository, kind)
    for pipeline in pair:
        pipeline.set_ip_adapter_scale(0.7)
    call = {**CALL, "num_images_per_prompt": 2, "guidance_scale": guidance_scale, "ip_adapter_image": IMAGES[kind]}
    mine, reference = call_both(*pair, seed=3, **call)
    assert_images_agree(mine.images, reference.images)
    assert np.abs(mine.images[::2] - without).max() > 0.02
