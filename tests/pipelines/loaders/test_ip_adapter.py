"""IP-Adapters of Stable Diffusion pipelines against diffusers, live: every kind of file and every method."""

import logging

import numpy as np
import paddle
import pytest
import torch
from diffusers.image_processor import IPAdapterMaskProcessor as Reference

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
        pipeline.register_modules(feature_extractor=None)


@pytest.fixture
def repository(loaded):
    return loaded[2]


def file_name(kind: str) -> str:
    return f"{kind}.bin" if kind in ("full", "face_id_plus") else f"{kind}.safetensors"


def load(pair, repository, *kinds, **options):
    names = [file_name(kind) for kind in kinds]
    for pipeline in pair:
        pipeline.load_ip_adapter(str(repository), FOLDER, names[0] if len(names) == 1 else names, **options)


def unet_outputs(ours, theirs, images, masks=(None, None)):
    """Outputs of the UNets for image embeddings, given as arrays, and masks of each library."""
    outputs = []
    for pipeline, tensor, mask in zip((ours, theirs), (paddle.to_tensor, torch.from_numpy), masks, strict=True):
        kwargs = {} if mask is None else {"cross_attention_kwargs": {"ip_adapter_masks": mask}}
        added = {"image_embeds": [tensor(x) for x in images]}
        sample, prompt = tensor(noise((2, 4, 12, 20))), tensor(noise((2, 77, 32), "embeds"))
        with torch.no_grad(), paddle.no_grad():
            outputs.append(pipeline.unet(sample, 7, prompt, added_cond_kwargs=added, **kwargs).sample)
    return outputs


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


def face_embeds(seed: int, images: int = 1) -> np.ndarray:
    """Unconditional and conditional embeddings of faces, [2, N, E]."""
    faces = noise((1, images, FACE), "face", seed)
    return np.concatenate([np.zeros_like(faces), faces])


def set_clip_embeds(ours, theirs, batch: int = 2, **settings) -> None:
    """What scripts for FaceID Plus set before a call: hidden states of the image encoder, [B, N, S, C]."""
    clip = noise((batch, 1, 17, VISION_WIDTH), "clip")
    for pipeline, tensor in ((ours, paddle.to_tensor(clip)), (theirs, torch.from_numpy(clip))):
        layer = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
        layer.clip_embeds = tensor
        for name, value in settings.items():
            setattr(layer, name, value)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("face_id", {}), ("face_id_plus", {}), ("face_id_plus", {"shortcut": True, "shortcut_scale": 0.6})],
    ids=["face_id", "face_id_plus", "version 2"],
)
def test_faces(pair, repository, kind, settings, caplog):
    load(pair, repository, kind, image_encoder_folder=None)
    assert "image encoder is not loaded" in caplog.text
    assert pair[0].image_encoder is None and pair[0].feature_extractor.crop_size["height"] == 224
    if settings or kind == "face_id_plus":
        set_clip_embeds(*pair, **settings)
    assert_close(*unet_outputs(*pair, [face_embeds(1)]), what=kind)


def test_the_pipeline_accepts_embeddings_of_faces(pair, repository):
    load(pair, repository, "face_id", image_encoder_folder=None)
    both = [[tensor(face_embeds(1))] for tensor in (paddle.to_tensor, torch.from_numpy)]
    call = {**CALL, "prompt": PROMPTS[1]}
    mine = pair[0](**call, generator=3, ip_adapter_image_embeds=both[0]).images
    reference = pair[1](**call, generator=torch.Generator().manual_seed(3), ip_adapter_image_embeds=both[1]).images
    assert_images_agree(mine, reference)


def test_face_id_plus_requires_the_image_encoder(pair, repository):
    load(pair[:1], repository, "face_id_plus", image_encoder_folder=None)
    with pytest.raises(InputError, match="clip_embeds"):
        pair[0](**CALL, ip_adapter_image_embeds=[paddle.to_tensor(face_embeds(1))])


def test_the_lora_of_a_face_id_file(pair, repository):
    load(pair, repository, "face_id_lora", image_encoder_folder=None)
    for pipeline in pair:
        assert pipeline.get_active_adapters() == ["faceid_0"]
    with_lora, reference = unet_outputs(*pair, [face_embeds(1)])
    assert_close(with_lora, reference)
    pair[0].disable_lora()
    assert float((unet_outputs(*pair, [face_embeds(1)])[0] - with_lora).abs().max()) > 0.1
    pair[0].enable_lora()


def test_a_dictionary(pair, loaded):
    tensors = ip_adapter_tensors(pair[1].unet, "base", seed=4)
    arrays = {part: {key: value.numpy() for key, value in some.items()} for part, some in tensors.items()}
    with pytest.raises(InputError, match="image encoder cannot be found"):
        pair[0].load_ip_adapter(arrays, None, None)
    assert not has_ip_adapters(pair[0].unet)
    pair[0].load_ip_adapter(arrays, None, None, image_encoder_folder=None)
    pair[1].load_ip_adapter(tensors, "", "", image_encoder_folder=None)
    assert_close(*unet_outputs(*pair, [noise((2, 3, 24), "images")]))


# -- several adapters, scales, masks ----------------------------------------------------------------------------------

BLOCKS = {"down": {"block_0": 0.3}, "mid": 0.9, "up": {"block_1": [0.0, 1.4]}}


def test_two_adapters_with_several_images(pair, repository):
    load(pair, repository, "base", "plus")
    for pipeline in pair:
        pipeline.set_ip_adapter_scale([0.6, {"up": 0.8}])
    images = [[IMAGE, OTHER], OTHER]
    mine, reference = call_both(*pair, seed=3, **CALL, ip_adapter_image=images)
    assert_images_agree(mine.images, reference.images)


SCALES = {
    "zero": 0.0,
    "one": 1,
    "blocks": BLOCKS,
    "style": {"up": {"block_1": [0.0, 1.0]}},
    "side": {"down": 0.5, "up": 1.5},
    "middle": {"mid": [1.2]},
}


def test_scales(pair, repository):
    load(pair, repository, "base")
    images, outputs = [noise((2, 2, 24), "images")], []
    for name, scale in SCALES.items():
        for pipeline in pair:
            pipeline.set_ip_adapter_scale(scale)
        mine, reference = unet_outputs(*pair, images)
        assert_close(mine, reference, what=name)
        assert [p.scale for p in processors(pair[0])] == [p.scale for p in processors(pair[1])], name
        assert all(float((mine - other).abs().max()) > 1e-2 for other in outputs), name
        outputs.append(mine)


def processors(pipeline):
    """The processors of the cross-attentions, by name."""
    found = pipeline.unet.attn_processors.items()
    return [p for name, p in sorted(found) if "attn2" in name]


def masks_for(*boxes) -> tuple:
    """Masks of both libraries for images of 24 x 40 pixels, [N, 1, 24, 40]."""
    images = [box_mask(40, 24, box) for box in boxes]
    ours = IPAdapterMaskProcessor().preprocess(images, height=24, width=40)
    theirs = Reference().preprocess(images, height=24, width=40)
    assert np.array_equal(ours.numpy(), theirs.numpy())
    return ours, theirs


def test_masks_of_two_images(pair, repository):
    """One adapter, two images, each in its half of the image, with a scale for each."""
    load(pair, repository, "plus")
    both = [mask.reshape([1, 2, 24, 40]) for mask in masks_for((0, 0, 20, 24), (20, 0, 40, 24))]
    for pipeline in pair:
        pipeline.set_ip_adapter_scale([[0.5, 1.1]])
    call = {**CALL, "ip_adapter_image": [[IMAGE, OTHER]]}
    mine = pair[0](**call, generator=3, cross_attention_kwargs={"ip_adapter_masks": [both[0]]}).images
    generator = torch.Generator().manual_seed(3)
    reference = pair[1](**call, generator=generator, cross_attention_kwargs={"ip_adapter_masks": [both[1]]}).images
    assert_images_agree(mine, reference)


def test_masks_of_two_adapters(pair, repository):
    """A mask for each of two adapters, None for one, and a tensor with all masks."""
    load(pair, repository, "base", "plus")
    images = [noise((2, 1, 24), "pooled"), noise((2, 1, 17, VISION_WIDTH), "tokens")]
    ours, theirs = masks_for((4, 2, 25, 20), (15, 5, 40, 24))
    outputs = []
    for masks in (
        (ours, theirs),
        ([ours[:1], ours[1:]], [theirs[:1], theirs[1:]]),
        ([None, ours[1:]], [None, theirs[1:]]),
    ):
        mine, reference = unet_outputs(*pair, images, masks)
        assert_close(mine, reference)
        outputs.append(mine)
    assert float((outputs[1] - outputs[0]).abs().max()) < 1e-4 < float((outputs[2] - outputs[1]).abs().max())


# -- embeddings, unloading, saving ------------------------------------------------------------------------------------


def test_prepared_embeddings(pair, repository):
    """Embeddings of both libraries are equal, and give the image that the images give."""
    load(pair, repository, "base", "plus")
    images = [IMAGE, [OTHER, IMAGE]]
    mine, reference = (p.prepare_ip_adapter_image_embeds(images, None, p.device, 1, True) for p in pair)
    for ours, theirs in zip(mine, reference, strict=True):
        assert_close(ours, theirs)
    call = {**CALL, "prompt": PROMPTS[0]}
    from_images = pair[0](**call, generator=3, ip_adapter_image=images).images
    from_embeds = pair[0](**call, generator=3, ip_adapter_image_embeds=mine).images
    assert np.abs(from_images - from_embeds).max() < 1e-4
    pixels = noise((2, 3, 32, 32), "pixels")
    for hidden_states in (True, False):
        results = pair[0].encode_image(paddle.to_tensor(pixels), None, 2, hidden_states)
        references = pair[1].encode_image(torch.from_numpy(pixels), "cpu", 2, hidden_states)
        for result, reference in zip(results, references, strict=True):
            assert result.shape[0] == 4
            assert np.abs(result.numpy() - reference.detach().numpy()).max() < 1e-4


def test_unloading_restores_the_unet(pair, repository):
    ours = pair[0]
    before = {key: value.numpy().copy() for key, value in ours.unet.state_dict().items()}
    images = ours(**CALL, generator=3).images
    load(pair, repository, "plus")
    assert ours.unet.config.encoder_hid_dim_type == pair[1].unet.config.encoder_hid_dim_type == "ip_image_proj"
    assert set(ours.unet.state_dict()) == set(pair[1].unet.state_dict())
    assert type(ours.unet).from_config(ours.unet.config).config.encoder_hid_dim_type is None
    load(pair, repository, "base")
    assert len(ours.unet.encoder_hid_proj.image_projection_layers) == 1, "a new adapter replaces others"
    for pipeline in pair:
        pipeline.unload_ip_adapter()
        assert pipeline.image_encoder is None and tuple(pipeline.config["image_encoder"]) == (None, None)
        assert pipeline.unet.encoder_hid_proj is None and pipeline.unet.config.encoder_hid_dim_type is None
    after = {key: value.numpy() for key, value in ours.unet.state_dict().items()}
    assert list(after) == list(before) and all(np.array_equal(after[key], before[key]) for key in before)
    assert np.array_equal(ours(**CALL, generator=3).images, images)


def test_saved_pipelines(pair, repository, tmp_path):
    """Each library loads what either saved: the image encoder, and a UNet without the adapters, as in diffusers."""
    load(pair, repository, "plus")
    pair[0].save_pretrained(tmp_path / "ours", to_diffusers=True)
    pair[0].save_pretrained(tmp_path / "paddle")
    pair[1].save_pretrained(tmp_path / "theirs")
    ours, theirs = load_both(tmp_path / "ours")
    again, _ = load_both(tmp_path / "theirs")
    own = ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "paddle")
    for pipeline in (ours, again, own):
        assert type(pipeline.image_encoder).__name__ == "CLIPVisionModelWithProjection"
        assert not has_ip_adapters(pipeline.unet)
    load((ours, theirs), repository, "plus")
    mine, reference = call_both(ours, theirs, seed=3, **CALL, ip_adapter_image=IMAGE)
    assert_images_agree(mine.images, reference.images)


def test_given_components(pair, loaded, repository):
    """The image encoder of the pipeline is kept, also where the repository has another one."""
    load(pair, repository, "base")
    ours = pair[0]
    encoder = ours.image_encoder
    other = type(ours).from_pipe(ours, image_encoder=encoder)
    other.load_ip_adapter(repository, FOLDER, file_name("plus"), image_encoder_folder="missing/folder")
    assert other.image_encoder is encoder


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_file_for_another_model(pair, repository, tmp_path):
    """All wrong shapes of all files are listed, and nothing changes."""
    from tests.support.checkpoints import tiny_unet

    wide = type(pair[1].unet).from_config({**tiny_unet().config, "cross_attention_dim": 48})
    save_ip_adapter(tmp_path / "wide.safetensors", ip_adapter_tensors(wide, "base"))
    incomplete = ip_adapter_tensors(pair[1].unet, "plus")
    del incomplete["ip_adapter"]["3.to_v_ip.weight"], incomplete["image_proj"]["norm_out.bias"]
    save_ip_adapter(tmp_path / "incomplete.bin", incomplete)
    with pytest.raises(WeightsError) as raised:
        pair[0].load_ip_adapter(tmp_path, "", ["wide.safetensors", "incomplete.bin"], image_encoder_folder=None)
    message = str(raised.value)
    for part in ("wide.safetensors", "ip_adapter.1.to_k_ip.weight", "ip_adapter.7.to_v_ip.weight", "(48, 32)"):
        assert part in message
    assert "missing: ip_adapter.3.to_v_ip.weight" in message and "missing: image_proj.norm_out.bias" in message
    assert not has_ip_adapters(pair[0].unet)


def test_other_files(pair, repository, tmp_path):
    save_ip_adapter(tmp_path / "lora.safetensors", {"unet": {"a": torch.ones(2)}, "other": {"b": torch.ones(2)}})
    with pytest.raises(WeightsError, match="no IP-Adapter"):
        pair[0].load_ip_adapter(tmp_path, "", "lora.safetensors")
    with pytest.raises(SourceError):
        pair[0].load_ip_adapter(repository, FOLDER, "missing.bin")
    with pytest.raises(InputError, match="`subfolder` has 2 entries"):
        pair[0].load_ip_adapter(repository, [FOLDER, FOLDER], ["base.safetensors"])
    with pytest.raises(SourceError):
        pair[0].load_ip_adapter(repository, FOLDER, "base.safetensors", image_encoder_folder="missing")
    assert not has_ip_adapters(pair[0].unet)


def embeds(*shapes):
    return [paddle.zeros(shape) for shape in shapes]


WRONG_CALLS = {
    "nothing": ({}, "neither `ip_adapter_image` nor"),
    "both": ({"ip_adapter_image": [IMAGE, IMAGE], "ip_adapter_image_embeds": []}, "both given"),
    "images": ({"ip_adapter_image": IMAGE}, "has 1 entries for 2 IP-Adapters"),
    "type": ({"ip_adapter_image_embeds": paddle.zeros([2, 1, 24])}, "must be a list"),
    "axes": ({"ip_adapter_image_embeds": embeds([2, 24], [2, 1, 17, 40])}, "must have 3 or 4 axes"),
    "count": ({"ip_adapter_image_embeds": embeds([2, 1, 24])}, "has 1 entries for 2 IP-Adapters"),
    "guidance": ({"ip_adapter_image_embeds": embeds([1, 1, 24], [3, 1, 17, 40])}, "3 entries for 2 conditions"),
    "masks": (
        {
            "ip_adapter_image_embeds": embeds([2, 1, 24], [2, 1, 17, 40]),
            "cross_attention_kwargs": {"ip_adapter_masks": [paddle.ones([1, 3, 24, 40])] * 2},
        },
        "3 masks for 1 images",
    ),
    "number of masks": (
        {
            "ip_adapter_image_embeds": embeds([2, 1, 24], [2, 1, 17, 40]),
            "cross_attention_kwargs": {"ip_adapter_masks": [paddle.ones([1, 1, 24, 40])]},
        },
        "masks for 1 adapters and 2 adapters",
    ),
}


def test_calls_that_do_not_fit_the_adapters(pair, repository):
    ours = pair[0]
    with pytest.raises(InputError, match="no IP-Adapter is loaded"):
        ours(**CALL, ip_adapter_image=IMAGE)
    load(pair[:1], repository, "base", "plus")
    for name, (arguments, message) in WRONG_CALLS.items():
        with pytest.raises(InputError) as raised:
            ours(**CALL, **arguments)
        assert message in str(raised.value), name
    for scale, message in (([0.5], "1 scales for 2"), ([0.5, {"up": {"block_0": 1.0}}], "'up' has no block 'block_0'")):
        with pytest.raises(InputError, match=message):
            ours.set_ip_adapter_scale(scale)
    ours.set_ip_adapter_scale([[0.5, 0.7], 1.0])
    with pytest.raises(InputError, match="2 scales for single images, which require masks"):
        ours(**CALL, ip_adapter_image=[[IMAGE, OTHER], IMAGE])
    ours.register_modules(image_encoder=None)
    with pytest.raises(InputError, match="requires an image encoder"):
        ours(**CALL, ip_adapter_image=[IMAGE, IMAGE])


def test_a_scale_without_adapters_warns(pair, caplog):
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    pair[0].set_ip_adapter_scale(0.5)
    assert "no IP-Adapter is loaded" in caplog.text
