"""Checkpoints of Karlo: converted to UnCLIPPipeline and back, and compared with diffusers on the same weights."""

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ppdiffusers import UnCLIPPipeline, convert_original, convert_to_original
from ppdiffusers.core.errors import SourceError, WeightsError
from ppdiffusers.io.weights import open_weights
from ppdiffusers.transformers import CLIPTextModelWithProjection, CLIPTokenizer
from tests.support import originals, unclip
from tests.support.parity import assert_close, randomize
from tests.support.unconditional import calmed

WIDTHS = {
    "block_out_channels": (32, 64),
    "norm_num_groups": 32,
    "layers_per_block": 1,
    "resnet_time_scale_shift": "scale_shift",
}
SETTINGS = {
    "prior": {"xf_heads": unclip.PRIOR["num_attention_heads"]},
    "decoder": {
        "image_size": unclip.SMALL,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [2],
        "num_head_channels": 16,
    },
    "super_res": {"image_size": unclip.LARGE, "channels_multiple": [1, 2], "depth": 1},
}


def upscaler(seed: int) -> diffusers.UNet2DModel:
    unet = diffusers.UNet2DModel(
        sample_size=unclip.LARGE,
        in_channels=6,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2,
        add_attention=False,
        **WIDTHS,
    )
    return calmed(randomize(unet, seed=seed))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A pipeline of diffusers, its files as Kakao Brain published them, and the converted folder."""
    root = tmp_path_factory.mktemp("karlo")
    reference = diffusers.UnCLIPPipeline.from_pretrained(unclip.tiny_unclip(root / "tiny"))
    decoder = diffusers.UNet2DConditionModel.from_config(reference.decoder.config, **WIDTHS, attention_head_dim=16)
    proj = type(reference.text_proj)(
        clip_extra_context_tokens=3,
        clip_embeddings_dim=unclip.WIDTH,
        time_embed_dim=4 * 32,
        cross_attention_dim=unclip.TOKENS,
    )
    reference.register_modules(
        decoder=calmed(randomize(decoder)),
        text_proj=randomize(proj),
        super_res_first=upscaler(1),
        super_res_last=upscaler(2),
    )
    files = originals.karlo(reference)
    (root / "files").mkdir()
    for name, content in files.items():
        torch.save(content, root / "files" / name)
    convert_original(root / "files", root / "paddle", "karlo", config=SETTINGS, verify=True, progress=False)
    return reference, files, root


def test_the_pipeline_of_diffusers(source):
    reference, _, root = source
    with pytest.raises(Exception, match="text_encoder"):
        UnCLIPPipeline.from_pretrained(root / "paddle")("a cat")
    parts = {
        "text_encoder": CLIPTextModelWithProjection.from_pretrained(root / "tiny" / "unclip", subfolder="text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(root / "tiny" / "unclip", subfolder="tokenizer"),
    }
    pipe = UnCLIPPipeline.from_pretrained(root / "paddle", **parts)
    for one in (pipe, reference):
        one.set_progress_bar_config(disable=True)
    steps = {
        "prior_num_inference_steps": 2,
        "decoder_num_inference_steps": 2,
        "super_res_num_inference_steps": 2,
        "output_type": "np",
    }
    expected = reference("a cat", generator=torch.Generator().manual_seed(0), **steps).images
    assert_close(pipe("a cat", generator=0, **steps).images, expected, 2e-3)


def test_networks_are_those_of_diffusers(source, tmp_path):
    reference, _, root = source
    convert_original(root / "files", tmp_path / "torch", "karlo", config=SETTINGS, to="diffusers", progress=False)
    for name in ("prior", "decoder", "text_proj", "super_res_first", "super_res_last"):
        expected = getattr(reference, name).state_dict()
        loaded = type(getattr(reference, name)).from_pretrained(tmp_path / "torch" / name).state_dict()
        assert loaded.keys() == expected.keys() and all(torch.equal(loaded[key], expected[key]) for key in expected)
    for name in ("prior_scheduler", "decoder_scheduler", "super_res_scheduler"):
        assert diffusers.UnCLIPScheduler.from_pretrained(tmp_path / "torch" / name).config.num_train_timesteps == 1000


def test_back_to_the_original(source, tmp_path):
    _, files, root = source
    convert_to_original(root / "paddle", tmp_path / "back", "karlo", progress=False)
    for part, name in (("prior", "prior"), ("decoder", "decoder"), ("super_res", "improved")):
        content = next(content for file, content in files.items() if file.startswith(name))
        expected = {f"state_dict.{key}": tensor for key, tensor in content["state_dict"].items()}
        back = load_file(tmp_path / "back" / f"{part}.safetensors")
        assert back.keys() == expected.keys() and all(torch.equal(back[key], expected[key]) for key in expected)
    statistics = load_file(tmp_path / "back" / "clip_stats.safetensors")
    for n, expected in enumerate(files["ViT-L-14_stats.th"]):
        np.testing.assert_array_equal(statistics[str(n)], expected)
    again = {
        name: tmp_path / "back" / f"{name}.safetensors" for name in ("prior", "decoder", "super_res", "clip_stats")
    }
    convert_original(tmp_path / "back", tmp_path / "again", "karlo", config=SETTINGS, files=again, progress=False)
    for name in ("prior", "decoder", "super_res_last"):
        one, other = (
            open_weights(folder / name / "model_state.pdparams") for folder in (root / "paddle", tmp_path / "again")
        )
        assert {key: t.read().tobytes() for key, t in one.items()} == {k: t.read().tobytes() for k, t in other.items()}


def test_incomplete_checkpoints(source, tmp_path):
    _, files, _ = source
    for name, content in files.items():
        if not name.startswith("decoder"):
            torch.save(content, tmp_path / name)
    with pytest.raises(SourceError, match=r"decoder: there is no decoder\*"):
        convert_original(tmp_path, tmp_path.parent / "out", "karlo", progress=False)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "decoder.ckpt")
    with pytest.raises(WeightsError, match=r"model\.\*"):
        convert_original(tmp_path, tmp_path.parent / "out", "karlo", progress=False)
