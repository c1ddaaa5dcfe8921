"""IP-Adapters of Stable Diffusion XL against diffusers, live."""

import numpy as np
import paddle
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.image_processor import IPAdapterMaskProcessor as Reference

import ppdiffusers
from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import IPAdapterMaskProcessor
from tests.pipelines.support import PROMPTS, assert_images_agree, box_mask, call_both, load_both, make_image
from tests.support.ip_adapter import FACE, ip_adapter_tensors, save_ip_adapter, tiny_image_encoder
from tests.support.parity import assert_close, noise
from tests.support.stable_diffusion_xl import tiny_stable_diffusion_xl

CALL = {"prompt": PROMPTS, "num_inference_steps": 2, "height": 24, "width": 40, "output_type": "np"}
IMAGE, OTHER = make_image(50, 36, seed=1), make_image(32, 44, seed=2)
FOLDER, ENCODER = "sdxl_models", "models/image_encoder"  # where h94/IP-Adapter has them
FILES = {kind: f"ip-adapter-{kind}_sdxl_vit-h.safetensors" for kind in ("base", "plus", "full")}
INSTANT_STYLE = {"down": {"block_2": [0.0, 1.0]}, "up": {"block_0": [0.0, 1.0, 0.0]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As many transformers in each block as Stable Diffusion XL has."""
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("xl"), layers_per_block=2)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture(scope="module")
def repository(loaded, tmp_path_factory):
    """An adapter of each kind, and the image encoder in another folder."""
    path = tmp_path_factory.mktemp("adapters")
    for seed, (kind, name) in enumerate(FILES.items()):
        save_ip_adapter(path / FOLDER / name, ip_adapter_tensors(loaded[1].unet, kind, seed))
    tiny_image_encoder().save_pretrained(path / ENCODER)
    return path


@pytest.fixture
def pair(loaded):
    """(ours, diffusers') without adapters."""
    yield loaded
    for pipeline in loaded:
        pipeline.unload_ip_adapter()


def load(pair, repository, *kinds):
    names = [FILES[kind] for kind in kinds]
    for pipeline in pair:
        pipeline.load_ip_adapter(str(repository), FOLDER, names, image_encoder_folder=ENCODER)


@pytest.mark.parametrize(("kind", "guidance_scale"), [("base", 5.0), ("plus", 5.0), ("full", 1.0)])
def test_kinds(pair, repository, kind, guidance_scale):
    without = pair[0](**CALL, generator=3, guidance_scale=guidance_scale).images
    load(pair, repository, kind)
    for pipeline in pair:
        pipeline.set_ip_adapter_scale(0.7)
    call = {**CALL, "num_images_per_prompt": 2, "guidance_scale": guidance_scale, "ip_adapter_image": IMAGE}
    mine, reference = call_both(*pair, seed=3, **call)
    assert_images_agree(mine.images, reference.images)
    assert np.abs(mine.images[::2] - without).max() > 0.02


@pytest.mark.parametrize("scale", [INSTANT_STYLE, {"up": {"block_0": [0.0, 1.0, 0.0]}}], ids=["layout", "style"])
def test_instant_style(pair, repository, scale):
    load(pair, repository, "plus")
    everywhere = pair[0](**CALL, generator=3, ip_adapter_image=IMAGE).images
    for pipeline in pair:
        pipeline.set_ip_adapter_scale(scale)
    scales = [
        {name: processor.scale for name, processor in pipeline.unet.attn_processors.items() if "attn2" in name}
        for pipeline in pair
    ]
    assert scales[0] == scales[1]
    mine, reference = call_both(*pair, seed=3, **CALL, ip_adapter_image=IMAGE)
    assert_images_agree(mine.images, reference.images)
    assert np.abs(mine.images - everywhere).max() > 0.02


def test_two_adapters_with_masks(pair, repository):
    """Two images in the halves of the first adapter, one image for the second."""
    load(pair, repository, "plus", "base")
    halves, box = (
        [box_mask(40, 24, box) for box in boxes] for boxes in ([(0, 0, 20, 24), (20, 0, 40, 24)], [(9, 3, 31, 20)])
    )
    call, results = {**CALL, "ip_adapter_image": [[IMAGE, OTHER], OTHER]}, []
    generators = (3, torch.Generator().manual_seed(3))
    for pipeline, processor, generator in zip(pair, (IPAdapterMaskProcessor(), Reference()), generators, strict=True):
        pipeline.set_ip_adapter_scale([[0.5, 1.1], 0.6])
        masks = [processor.preprocess(images, height=24, width=40) for images in (halves, box)]
        kwargs = {"ip_adapter_masks": [masks[0].reshape([1, 2, 24, 40]), masks[1]]}
        results.append(pipeline(**call, generator=generator, cross_attention_kwargs=kwargs).images)
    assert_images_agree(*results)


def test_given_embeddings(pair, repository):
    load(pair, repository, "base", "plus")
    images = [IMAGE, [OTHER, IMAGE]]
    both = [p.prepare_ip_adapter_image_embeds(images, None, p.device, 1, True) for p in pair]
    call = {**CALL, "prompt": PROMPTS[0]}
    mine = pair[0](**call, generator=3, ip_adapter_image_embeds=both[0]).images
    generator = torch.Generator().manual_seed(3)
    assert_images_agree(mine, pair[1](**call, generator=generator, ip_adapter_image_embeds=both[1]).images)
    assert np.abs(mine - pair[0](**call, generator=3, ip_adapter_image=images).images).max() < 1e-4


def test_faces(pair, tmp_path):
    """The file contains a LoRA too; the image prompts are embeddings of faces."""
    save_ip_adapter(tmp_path / "face.safetensors", ip_adapter_tensors(pair[1].unet, "face_id", 9, lora=True))
    faces, results = noise((1, 1, FACE), "face"), []
    embeds = np.concatenate([np.zeros_like(faces), faces])  # [2, 1, E]
    for pipeline, tensor, generator in (
        (pair[0], paddle.to_tensor, 3),
        (pair[1], torch.from_numpy, torch.Generator().manual_seed(3)),
    ):
        pipeline.load_ip_adapter(str(tmp_path), None, "face.safetensors", image_encoder_folder=None)
        assert pipeline.get_active_adapters() == ["faceid_0"]
        call = {**CALL, "prompt": PROMPTS[0], "ip_adapter_image_embeds": [tensor(embeds)]}
        results.append(pipeline(**call, generator=generator).images)
        pipeline.unload_lora_weights()
    assert_images_agree(*results)


def test_a_given_image_encoder(pair, repository, folder):
    """A pipeline that is loaded with an image encoder keeps it."""
    encoder = ppdiffusers.transformers.CLIPVisionModelWithProjection.from_pretrained(repository / ENCODER)
    ours = ppdiffusers.StableDiffusionXLPipeline.from_pretrained(folder, image_encoder=encoder)
    ours.set_progress_bar_config(disable=True)
    ours.load_ip_adapter(repository, FOLDER, FILES["base"], image_encoder_folder="missing/folder")
    assert ours.image_encoder is encoder
    load(pair, repository, "base")
    call = {**CALL, "generator": 3, "ip_adapter_image": IMAGE}
    assert np.array_equal(ours(**call).images, pair[0](**call).images)


def test_unloading(pair, repository):
    before = pair[0](**CALL, generator=3).images
    load(pair, repository, "plus")
    for pipeline in pair:
        pipeline.unload_ip_adapter()
        assert pipeline.image_encoder is None and pipeline.feature_extractor is None
        assert pipeline.unet.encoder_hid_proj is None
    assert np.array_equal(pair[0](**CALL, generator=3).images, before)


def test_guidance_that_ends_early(pair, repository):
    """The last step sees the image, not its absence; the reference is the UNet of diffusers in that step."""
    load(pair, repository, "base")
    names, states = ("latents", "prompt_embeds", "add_text_embeds", "add_time_ids"), {}

    def stop(pipeline, index, timestep, tensors):
        if index == 1:
            return {}
        pipeline._guidance_scale = 0.0
        conditional = {name: tensors[name].chunk(2)[1] for name in names[1:]}
        states.update({name: torch.from_numpy(x.numpy()) for name, x in {**tensors, **conditional}.items()})
        return conditional

    call = {**CALL, "ip_adapter_image": IMAGE, "output_type": "latent"}
    found = pair[0](**call, generator=3, callback_on_step_end=stop, callback_on_step_end_tensor_inputs=names).images
    latents, prompt_embeds, text_embeds, time_ids = (states[name] for name in names)
    unet, scheduler = pair[1].unet, EulerDiscreteScheduler.from_config(pair[1].scheduler.config)
    scheduler.set_timesteps(2)
    images = pair[1].prepare_ip_adapter_image_embeds(IMAGE, None, "cpu", 2, False)
    added = {"text_embeds": text_embeds, "time_ids": time_ids, "image_embeds": images}
    with torch.no_grad():
        t = scheduler.timesteps[1]
        scaled = scheduler.scale_model_input(latents, t)
        prediction = unet(scaled, t, prompt_embeds, added_cond_kwargs=added).sample
    assert_close(found, scheduler.step(prediction, t, latents).prev_sample)


def test_wrong_calls(pair, repository):
    ours = pair[0]
    with pytest.raises(InputError, match="no IP-Adapter is loaded"):
        ours(**CALL, ip_adapter_image=IMAGE)
    load(pair[:1], repository, "base", "plus")
    with pytest.raises(InputError, match="neither `ip_adapter_image` nor"):
        ours(**CALL)
    with pytest.raises(InputError, match="has 1 entries for 2 IP-Adapters"):
        ours(**CALL, ip_adapter_image_embeds=[paddle.zeros([2, 1, 24])])
