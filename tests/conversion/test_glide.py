"""Checkpoints of GLIDE, which consist of several files: networks against recorded calls, and conversion both ways."""

import gzip

import diffusers
import paddle
import paddle.nn.functional as F
import pytest
import torch
from safetensors.torch import load_file

from ppdiffusers import (
    GlideTextModel,
    GlideTokenizer,
    UNet2DConditionModel,
    convert_original,
    convert_paddle_to_diffusers,
    convert_to_original,
)
from ppdiffusers.cli.main import main
from ppdiffusers.core.errors import ConfigError, InputError, SourceError, WeightsError
from tests.support import glide
from tests.support.parity import assert_close

NETWORKS = {"base": ("unet", "text_encoder"), "upsample": ("upsampler", "upsampler_text_encoder")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The converted checkpoints of text to image (False) and inpainting (True)."""
    root = tmp_path_factory.mktemp("glide")
    for inpaint in (False, True):
        source = glide.checkpoint(root / f"source-{inpaint}", inpaint)
        convert_original(source, root / str(inpaint), "glide", config=glide.SETTINGS, verify=True, progress=False)
    return {inpaint: root / str(inpaint) for inpaint in (False, True)}


@pytest.fixture(scope="module")
def recorded():
    return glide.recorded()


def predict(folder, part, call, sample, extra, timesteps):
    """Encode the tokens of a recorded call and run the UNet, [B, 6, H, W]."""
    unet, encoder = NETWORKS[part]
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder=unet)
    encoder = GlideTextModel.from_pretrained(folder, subfolder=encoder)
    tensors = [paddle.to_tensor(call[name]) for name in ("tokens", "mask")]
    with paddle.no_grad():
        text = encoder(*tensors)
        return unet(
            paddle.concat([paddle.to_tensor(sample), *extra], axis=1),
            paddle.to_tensor(timesteps),
            encoder_hidden_states=text.last_hidden_state,
            class_labels=text.time_embeds,
        ).sample.numpy()


@pytest.mark.parametrize("number", ["000", "003", "004"])
@pytest.mark.parametrize("part", NETWORKS)
def test_networks(folders, recorded, part, number):
    name = f"corgi/call/{part}/{number}"
    call = {key.rpartition("/")[2]: array for key, array in recorded.items() if key.startswith(name)}
    extra = []
    if part == "upsample":
        low_res = paddle.to_tensor(call["low_res"])
        extra = [F.interpolate(low_res, size=[32, 32], mode="bilinear", align_corners=False)]
    found = predict(folders[False], part, call, call["0"], extra, call["1"])
    assert_close(found, call["out"], 1e-5, name)


def test_inpainting_network(folders, recorded):
    call = {key.rpartition("/")[2]: array for key, array in recorded.items() if key.startswith("inpaint/forward/in")}
    image, mask = (paddle.to_tensor(call[f"inpaint_{name}"]) for name in ("image", "mask"))
    found = predict(folders[True], "base", call, call["x"], [image * mask, mask], call["timesteps"])
    assert_close(found, recorded["inpaint/forward/out/sample"], 1e-5)


def test_the_unet_is_one_of_diffusers(folders, tmp_path):
    convert_paddle_to_diffusers(folders[False], tmp_path / "torch", progress=False)
    theirs = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "torch" / "unet")
    ours = UNet2DConditionModel.from_pretrained(folders[False], subfolder="unet")
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel().item() for p in ours.parameters())


@pytest.mark.parametrize("inpaint", [False, True])
def test_back_to_the_original(folders, inpaint, tmp_path):
    """Every bit, from both frameworks' folders."""
    convert_paddle_to_diffusers(folders[inpaint], tmp_path / "torch", progress=False)
    expected = {
        "base": glide.state_dict("inpaint" if inpaint else "base"),
        "upsample": glide.upsample_inpaint() if inpaint else glide.state_dict("upsample"),
    }
    for source in (folders[inpaint], tmp_path / "torch"):
        report = convert_to_original(source, tmp_path / f"back-{source.name}", "glide", progress=False)
        assert len(report.components) == 2
        for part, state in expected.items():
            back = load_file(report.output / f"{part}.safetensors")
            assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_command_line_with_named_files(tmp_path, recorded, capsys):
    source = glide.checkpoint(tmp_path / "source")
    (source / "base.pt").rename(tmp_path / "first.pt")
    (source / "vocab.bpe").unlink()
    with gzip.open(tmp_path / "words.gz", "wb") as file:
        file.write(glide.MERGES.read_bytes())
    settings = [f"{part}.{k}={v}" for part, values in glide.SETTINGS.items() for k, v in values.items()]
    settings = [setting.replace("[", "").replace("]", "").replace(" ", "") for setting in settings]
    arguments = ["convert", "--from", "glide", "--pretrained_model_name_or_path", str(source)]
    arguments += ["--output_path", str(tmp_path / "out"), *(x for one in settings for x in ("--set", one))]
    assert main([*arguments, "--file", f"base={tmp_path / 'first.pt'}"]) == 1
    assert "merges: there is no vocab.bpe.gz or" in capsys.readouterr().err
    files = ["--file", f"base={tmp_path / 'first.pt'}", "--file", f"merges={tmp_path / 'words.gz'}"]
    assert main([*arguments, *files]) == 0
    tokenizer = GlideTokenizer.from_pretrained(tmp_path / "out", subfolder="tokenizer")
    assert tokenizer.encode("an oil painting of a corgi") == recorded["tokenizer/tiny/0"].tolist()


def test_files_that_are_missing_or_ambiguous(tmp_path):
    source = glide.checkpoint(tmp_path / "source")
    (source / "base_inpaint.pt").write_bytes(b"")
    (source / "upsample.pt").unlink()
    with pytest.raises(SourceError) as error:
        convert_original(source, tmp_path / "out", "glide", files={"merges": tmp_path / "no"}, progress=False)
    problems = "\n".join(error.value.problems)
    assert "base.pt, base_inpaint.pt are several candidates" in problems
    assert "upsample: there is no upsample.* or upsample_inpaint.*" in problems
    assert "no does not exist" in problems
    with pytest.raises(SourceError, match="incomplete"):
        convert_original(source / "base.pt", tmp_path / "out", "glide", progress=False)
    with pytest.raises(InputError, match="no such files: decoder"):
        convert_original(source, tmp_path / "out", "glide", files={"decoder": source / "base.pt"}, progress=False)
    with pytest.raises(InputError, match="no such files: base"):
        convert_original(source / "base.pt", tmp_path / "out", "ddpm", files={"base": source}, progress=False)
    assert not (tmp_path / "out").exists()


def test_models_that_do_not_belong_together(tmp_path):
    source = glide.checkpoint(tmp_path / "source")
    torch.save(glide.state_dict("inpaint"), source / "base.pt")
    with pytest.raises(ConfigError, match="the base model has 7 input channels, the upsampler has 6"):
        convert_original(source, tmp_path / "out", "glide", config=glide.SETTINGS, progress=False)


def test_a_checkpoint_of_another_family(tmp_path):
    source = glide.checkpoint(tmp_path / "source")
    torch.save({"layers.0.weight": torch.zeros(2, 2)}, source / "base.pt")
    with pytest.raises(WeightsError, match="layers"):
        convert_original(source, tmp_path / "out", "glide", progress=False)


def test_a_checkpoint_of_other_sizes(tmp_path):
    """Without the settings of the tiny networks, those of the published ones are expected."""
    source = glide.checkpoint(tmp_path / "source")
    with pytest.raises(WeightsError, match=r"missing: input_blocks"):
        convert_original(source, tmp_path / "out", "glide", progress=False)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["base.resblock_updown=False"], "base.resblock_updown is False: only True is supported"),
        (["upsample.sampler=1"], "upsample.sampler is unknown"),
        (["base.xf_heads=many"], "base.xf_heads is 'many'"),
    ],
)
def test_settings_that_are_not_supported(tmp_path, settings, problem):
    source = glide.checkpoint(tmp_path / "source")
    with pytest.raises(ConfigError) as error:
        convert_original(source, tmp_path / "out", "glide", config=glide.SETTINGS, settings=settings, progress=False)
    assert problem in "\n".join(error.value.problems)


def test_text_encoder_checks():
    with pytest.raises(ConfigError, match="not a multiple of num_attention_heads=3"):
        GlideTextModel(vocab_size=11, text_ctx=4, width=8, num_layers=1, num_attention_heads=3)
    encoder = GlideTextModel(vocab_size=11, text_ctx=4, width=8, num_layers=1, num_attention_heads=2)
    with pytest.raises(InputError, match="4 tokens a text"):
        encoder(paddle.zeros([1, 3], "int64"), paddle.ones([1, 3], "int64"))
