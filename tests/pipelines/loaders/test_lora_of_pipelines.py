"""LoRA in the pipelines with images and controls of Stable Diffusion, and in threads, against diffusers, live."""

import threading

import diffusers
import numpy as np
import paddle
import PIL.Image
import pytest
import torch

import ppdiffusers
from tests.pipelines.support import assert_images_agree, call_both, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.lora import ALL_LAYERS, TEXT, save_peft_lora
from tests.support.parity import noise, rng_for

CALL = {"prompt": ["a cat", "一个红色的圆形"], "num_inference_steps": 3, "output_type": "np"}
IMAGE = PIL.Image.fromarray((np.abs(noise((24, 40, 3), "image")).clip(0, 1) * 255).astype("uint8"))
MASK = PIL.Image.fromarray(np.pad(np.full((24, 20), 255, "uint8"), ((0, 0), (20, 0))))
CALLS = {
    "StableDiffusionImg2ImgPipeline": {"image": IMAGE, "strength": 0.9},
    "StableDiffusionInpaintPipeline": {
        **{"image": IMAGE, "mask_image": MASK, "strength": 0.9},
        **{"height": 24, "width": 40},
    },
    "StableDiffusionControlNetPipeline": {"image": [IMAGE, IMAGE]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    return save_peft_lora(tmp_path_factory.mktemp("lora"), folder, "style", 4, ALL_LAYERS, TEXT)


@pytest.fixture(scope="module")
def pair(folder):
    return load_both(folder)


@pytest.fixture(scope="module")
def controlnet(folder, tmp_path_factory):
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    network = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(rng_for(name).standard_normal(tuple(parameter.shape)) * 0.1))
    target = tmp_path_factory.mktemp("controlnet")
    network.save_pretrained(target)
    return target


@pytest.mark.parametrize("name", CALLS)
def test_pipelines_with_images(pair, file, controlnet, name):
    """Loaded into the pipeline of the task, which shares the networks; scaled by the call."""
    others = []
    for module, pipeline in zip((ppdiffusers, diffusers), pair):
        network = {"controlnet": module.ControlNetModel.from_pretrained(controlnet)} if "ControlNet" in name else {}
        others.append(getattr(module, name).from_pipe(pipeline, **network))
    for pipeline in others:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="style")
    try:
        assert pair[0].get_list_adapters() == pair[1].get_list_adapters() != {}
        found = []
        for scale in (1.0, 0.35):
            mine, reference = call_both(*others, seed=3, **CALL, **CALLS[name], cross_attention_kwargs={"scale": scale})
            assert_images_agree(mine.images, reference.images)
            found.append(mine.images)
        assert np.abs(found[0] - found[1]).max() > 1e-2
    finally:
        for pipeline in pair:
            pipeline.unload_lora_weights()
        pair[1]._lora_scale = 1.0


def test_scales_of_threads(pair, file):
    """Pipelines that share the networks run at the same time, each with its own scale."""
    ours, scales = pair[0], (0.0, 0.35, 1.0)
    ours.load_lora_weights(file)
    latents = paddle.to_tensor(noise((2, 4, 12, 20)))

    def run(pipeline, scale):
        return pipeline(**CALL, latents=latents.clone(), cross_attention_kwargs={"scale": scale}).images

    expected, found = [run(ours, scale) for scale in scales], {}
    schedulers = [type(ours.scheduler).from_config(ours.scheduler.config) for _ in scales]
    pipelines = [type(ours).from_pipe(ours, scheduler=scheduler) for scheduler in schedulers]
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: run(pipelines[n], scales[n])})) for n in range(len(scales))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ours.unload_lora_weights()
    assert all(np.abs(found[n] - expected[n]).max() < 1e-4 for n in range(len(scales)))
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
