"""Whole folders converted there and back: bits, configurations, and outputs of the frameworks themselves."""

from __future__ import annotations

import hashlib
import json
import shutil

import diffusers
import numpy as np
import paddle
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import ppdiffusers
from ppdiffusers import convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.core.errors import ConversionError, PPDiffusersError
from tests.conversion.support import bits, components, configs, paddle_arrays, torch_bits
from tests.support.checkpoints import tiny_ddpm, tiny_stable_diffusion
from tests.support.parity import randomize


def _there_and_back(source, tmp_path, **options):
    there, back = tmp_path / "paddle", tmp_path / "torch"
    convert_diffusers_to_paddle(source, there, progress=False, **options)
    convert_paddle_to_diffusers(there, back, progress=False)
    return there, back


def _assert_same_weights(one, other):
    assert components(one) == components(other) != []
    for name in components(one):
        first, second = torch_bits(one / name), torch_bits(other / name)
        assert first.keys() == second.keys()
        assert first == second, [key for key in first if first[key] != second[key]]


@pytest.mark.parametrize("format", ["pdparams", "safetensors"])
@pytest.mark.parametrize(("dtype", "safe"), [("float32", True), ("float16", False), ("bfloat16", True)])
@pytest.mark.parametrize("variant", ["sd1", "sd2"])
def test_stable_diffusion_round_trip_is_bit_exact(tmp_path, variant, dtype, safe, format):
    source = tiny_stable_diffusion(tmp_path, variant=variant, dtype=dtype, safe_serialization=safe)
    there, back = _there_and_back(source, tmp_path, format=format)
    assert len(list(there.rglob(f"model_state.{format}"))) == 4
    _assert_same_weights(source, back)
    assert configs(back) == configs(source)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_ddpm_round_trip_is_bit_exact(tmp_path, dtype):
    source = tiny_ddpm(tmp_path, dtype=dtype)
    _, back = _there_and_back(source, tmp_path)
    _assert_same_weights(source, back)
    assert configs(back) == configs(source)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_paddle_round_trip_is_bit_exact(tmp_path, dtype):
    source = tiny_stable_diffusion(tmp_path, dtype=dtype)
    first, torch_folder, second = tmp_path / "first", tmp_path / "torch", tmp_path / "second"
    convert_diffusers_to_paddle(source, first, progress=False)
    convert_paddle_to_diffusers(first, torch_folder, progress=False)
    convert_diffusers_to_paddle(torch_folder, second, progress=False)
    for name in components(first):
        one, other = paddle_arrays(first / name), paddle_arrays(second / name)
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].dtype == other[key].dtype
            assert one[key].shape == other[key].shape
            assert one[key].tobytes() == other[key].tobytes()
    assert configs(first) == configs(second)


def test_only_linear_weights_are_transposed(tmp_path):
    source = tiny_stable_diffusion(tmp_path)
    convert_diffusers_to_paddle(source, tmp_path / "paddle", progress=False)
    theirs = torch.nn.Module.state_dict(diffusers.UNet2DConditionModel.from_pretrained(source / "unet"))
    ours = paddle_arrays(tmp_path / "paddle" / "unet")
    square = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert ours[square].shape == (32, 32)
    np.testing.assert_array_equal(ours[square], theirs[square].numpy().T)
    np.testing.assert_array_equal(ours["conv_in.weight"], theirs["conv_in.weight"].numpy())


def test_size_one_and_integer_tensors(tmp_path):
    """One output channel; and the `position_ids` that older transformers versions saved and no network reads."""
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8, 8, 8), norm_num_groups=4
    )
    randomize(unet).save_pretrained(tmp_path / "unet")
    there, back = _there_and_back(tmp_path / "unet", tmp_path)
    assert paddle_arrays(there)["conv_out.bias"].shape == (1,)
    assert torch_bits(back) == torch_bits(tmp_path / "unet")

    source = tiny_stable_diffusion(tmp_path) / "text_encoder"
    file = source / "model.safetensors"
    ids = torch.arange(77).expand(1, -1).contiguous()
    save_file({**load_file(file), "text_model.embeddings.position_ids": ids}, file, {"format": "pt"})
    there, back = _there_and_back(source, tmp_path / "text")
    assert paddle_arrays(there)["text_model.embeddings.position_ids"].dtype == np.int64
    assert torch_bits(back) == torch_bits(source)


def test_sharded_source(tmp_path):
    source = tiny_stable_diffusion(tmp_path, max_shard_size="200KB")
    assert list((source / "unet").glob("*.index.json"))
    there, back = _there_and_back(source, tmp_path)
    _assert_same_weights(source, back)
    assert not list(there.rglob("*.index.json"))


def test_report(tmp_path):
    source = tiny_stable_diffusion(tmp_path)
    report = convert_diffusers_to_paddle(source, tmp_path / "paddle", progress=False)
    by_name = {component.name: component for component in report.components}
    assert set(by_name) == {
        "feature_extractor", "safety_checker", "scheduler", "text_encoder", "tokenizer", "unet", "vae",
    }  # fmt: skip
    unet = diffusers.UNet2DConditionModel.from_pretrained(source / "unet")
    assert by_name["unet"].parameters == unet.num_parameters()
    assert by_name["unet"].tensors == len(unet.state_dict())
    assert by_name["unet"].dtype == "float32"
    assert by_name["unet"].class_name == "UNet2DConditionModel"
    for component in report.components:
        for file, digest in component.sha256.items():
            written = tmp_path / "paddle" / component.name / file
            assert hashlib.sha256(written.read_bytes()).hexdigest() == digest
            assert digest in str(report)
    assert by_name["vae"].bytes == sum(path.stat().st_size for path in (tmp_path / "paddle" / "vae").iterdir())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_casts_like_torch(tmp_path, dtype):
    source = tiny_stable_diffusion(tmp_path)
    convert_diffusers_to_paddle(source, tmp_path / "paddle", dtype=dtype, progress=False)
    convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "torch", progress=False)
    cast = diffusers.AutoencoderKL.from_pretrained(source / "vae").to(getattr(torch, dtype)).state_dict()
    written = torch_bits(tmp_path / "torch" / "vae")
    assert {name: value[2] for name, value in written.items()} == {name: bits(tensor) for name, tensor in cast.items()}
    assert json.loads((tmp_path / "torch/text_encoder/config.json").read_text())["torch_dtype"] == dtype


def test_diffusers_generates_the_same_bits_after_a_round_trip(tmp_path):
    source = tiny_stable_diffusion(tmp_path)
    _, back = _there_and_back(source, tmp_path)
    images = []
    for folder in (source, back):
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
        assert isinstance(pipeline.tokenizer, transformers.CLIPTokenizer)
        call = {"num_inference_steps": 3, "output_type": "np", "height": 32, "width": 32}
        images.append(pipeline("一个红色的圆形", generator=torch.Generator().manual_seed(0), **call).images)
    assert images[0].std() > 0.01
    np.testing.assert_array_equal(*images)


def test_pipeline_saved_by_ppdiffusers(tmp_path):
    """A pipeline that was created in Paddle: its files contain no diffusers version."""
    source = tiny_stable_diffusion(tmp_path)
    ours = ppdiffusers.StableDiffusionPipeline.from_pretrained(source)
    ours.save_pretrained(tmp_path / "ours")
    convert_paddle_to_diffusers(tmp_path / "ours", tmp_path / "torch", progress=False)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "torch")
    assert theirs.safety_checker is not None
    _assert_same_weights(source, tmp_path / "torch")
    for name in ("unet", "vae", "scheduler"):
        original = dict(getattr(diffusers.StableDiffusionPipeline.from_pretrained(source), name).config)
        kept = dict(getattr(theirs, name).config)
        assert {k: v for k, v in kept.items() if k[0] != "_"} == {k: v for k, v in original.items() if k[0] != "_"}


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder", "safety_checker", "scheduler", "tokenizer"])
def test_single_component(tmp_path, name):
    source = tiny_stable_diffusion(tmp_path) / name
    there, back = _there_and_back(source, tmp_path)
    assert torch_bits(back) == torch_bits(source)
    assert configs(back) == configs(source)
    assert {path.name for path in back.iterdir()} == {path.name for path in source.iterdir()}


def test_network_next_to_its_scheduler_configuration(tmp_path):
    """As in the folders of the first releases, which have no index: the weights are not left out."""
    pipeline, source = tiny_stable_diffusion(tmp_path), tmp_path / "flat"
    shutil.copytree(pipeline / "unet", source)
    shutil.copy(pipeline / "scheduler" / "scheduler_config.json", source)
    there, back = _there_and_back(source, tmp_path)
    assert torch_bits(back) == torch_bits(source)
    assert (there / "scheduler_config.json").is_file() and configs(back) == configs(source)


def test_other_files_are_copied_or_reported(tmp_path):
    source = tiny_stable_diffusion(tmp_path)
    (source / "README.md").write_text("a card")
    (source / "LICENSE").write_text("a licence")
    (source / "v1-5.ckpt").write_bytes(b"0" * 100)
    (source / "unet" / "flax_model.msgpack").write_bytes(b"0" * 100)
    (source / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"0" * 100)
    (source / "onnx").mkdir()
    (source / "onnx" / "model.onnx").write_bytes(b"0")
    report = convert_diffusers_to_paddle(source, tmp_path / "paddle", progress=False)
    assert (tmp_path / "paddle" / "README.md").read_text() == "a card"
    assert (tmp_path / "paddle" / "LICENSE").read_text() == "a licence"
    expected = {"v1-5.ckpt", "onnx", "unet/flax_model.msgpack", "unet/diffusion_pytorch_model.fp16.safetensors"}
    assert set(report.left_out) == expected
    for name in expected:
        assert not (tmp_path / "paddle" / name).exists()
        assert name in str(report)


def test_variant_must_be_passed(tmp_path):
    source = tiny_stable_diffusion(tmp_path, file_variant="fp16", dtype="float16")
    with pytest.raises(ConversionError, match="fp16") as caught:
        convert_diffusers_to_paddle(source, tmp_path / "paddle", progress=False)
    assert "--variant fp16" in str(caught.value)
    assert not (tmp_path / "paddle").exists()
    there, back = _there_and_back(source, tmp_path, variant="fp16")
    assert paddle_arrays(there / "unet")["conv_in.weight"].dtype == np.float16
    _assert_same_weights(source, back)


def test_sharded_variant(tmp_path):
    source = tiny_stable_diffusion(tmp_path, file_variant="fp16", dtype="float16", max_shard_size="200KB")
    assert list((source / "unet").glob("*.index.fp16.json"))
    there, back = _there_and_back(source, tmp_path, variant="fp16")
    assert len(list(there.rglob("model_state.pdparams"))) == 4
    _assert_same_weights(source, back)


def test_variant_next_to_the_weights_without_one(tmp_path):
    source = tiny_stable_diffusion(tmp_path, dtype="float16", file_variant="fp16")
    other = tiny_stable_diffusion(tmp_path / "full")
    for name in components(other):
        for path in (other / name).glob("*.safetensors"):
            shutil.copy(path, source / name)
    convert_diffusers_to_paddle(source, tmp_path / "plain", progress=False)
    convert_diffusers_to_paddle(source, tmp_path / "half", variant="fp16", progress=False)
    assert paddle_arrays(tmp_path / "plain" / "vae")["encoder.conv_in.weight"].dtype == np.float32
    assert paddle_arrays(tmp_path / "half" / "vae")["encoder.conv_in.weight"].dtype == np.float16


def test_source_and_converted_folder_load_equal_weights(tmp_path):
    source = tiny_stable_diffusion(tmp_path)
    convert_diffusers_to_paddle(source, tmp_path / "paddle", progress=False)
    unconverted = ppdiffusers.UNet2DConditionModel.from_pretrained(source, subfolder="unet").state_dict()
    converted = ppdiffusers.UNet2DConditionModel.from_pretrained(tmp_path / "paddle", subfolder="unet").state_dict()
    assert unconverted.keys() == converted.keys()
    assert all(bool(paddle.equal_all(unconverted[key], converted[key])) for key in unconverted)


def test_paddlenlp_layout(tmp_path):
    source = tiny_stable_diffusion(tmp_path)
    there, back = _there_and_back(source, tmp_path, layout="paddlenlp")
    index = json.loads((there / "model_index.json").read_text())
    assert index["text_encoder"] == ["paddlenlp.transformers", "CLIPTextModel"]
    names = paddle_arrays(there / "text_encoder").keys()
    assert "text_model.token_embedding.weight" in names
    assert "text_model.transformer.layers.0.linear1.weight" in names
    assert not [name for name in names if ".encoder." in name or ".mlp." in name]
    ours = ppdiffusers.StableDiffusionPipeline.from_pretrained(there)
    plain = ppdiffusers.StableDiffusionPipeline.from_pretrained(source)
    for name in ("text_encoder", "safety_checker"):
        one, other = getattr(ours, name).state_dict(), getattr(plain, name).state_dict()
        assert one.keys() == other.keys()
        assert all(bool(paddle.equal_all(one[key], other[key])) for key in one)
    _assert_same_weights(source, back)
    assert configs(back) == configs(source)


def test_overwrite(tmp_path):
    source = tiny_ddpm(tmp_path)
    output = tmp_path / "paddle"
    output.mkdir()
    convert_diffusers_to_paddle(source, output, progress=False)  # an empty folder may be replaced
    (output / "mine.txt").write_text("mine")
    with pytest.raises(ConversionError, match="overwrite"):
        convert_diffusers_to_paddle(source, output, progress=False)
    assert (output / "mine.txt").exists()
    convert_diffusers_to_paddle(source, output, overwrite=True, progress=False)
    assert not (output / "mine.txt").exists()
    assert (output / "model_index.json").exists()


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"format": "bin"}, {"layout": "other"}, {"dtype": "float8", "format": "x"}]
)
def test_all_bad_options_are_listed(tmp_path, options):
    source = tiny_ddpm(tmp_path)
    with pytest.raises(PPDiffusersError) as caught:
        convert_diffusers_to_paddle(source, tmp_path / "paddle", progress=False, **options)
    assert all(key in str(caught.value) for key in options)


def test_wrong_direction(tmp_path):
    source = tiny_ddpm(tmp_path)
    with pytest.raises(ConversionError, match="other direction"):
        convert_paddle_to_diffusers(source, tmp_path / "torch", progress=False)
