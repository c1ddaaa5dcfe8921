"""Hotswap of LoRA: results of diffusers with PEFT, and compiled networks that are not compiled again."""

import logging

import numpy as np
import paddle
import pytest
import torch
from safetensors.torch import load_file, save_file

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters import get_adapters
from ppdiffusers.runtime.compiling import Program, compile
from tests.pipelines.support import load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.lora import ALL_LAYERS, ATTENTION, CONVOLUTIONS, KOHYA, TEXT, as_kohya, save_peft_lora
from tests.support.parity import assert_close, noise

RANK = 6
LAYERS = [*ALL_LAYERS, *CONVOLUTIONS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """Four files for the UNet: ranks 4, 2 and 6 (with another alpha), and one with fewer layers."""
    target = tmp_path_factory.mktemp("lora")
    found = [save_peft_lora(target / str(rank), folder, f"{rank}", rank, LAYERS) for rank in (4, 2)]
    large = save_peft_lora(target / "6", folder, "6", RANK, LAYERS)
    found.append(as_kohya(large, target / "kohya.safetensors", 2.0, KOHYA))
    few = {key: tensor for key, tensor in load_file(found[0]).items() if "attn" in key}
    save_file({key: tensor * 0.5 for key, tensor in few.items()}, target / "few.safetensors")
    return [*found, target / "few.safetensors"]


@pytest.fixture
def pair(folder):
    return load_both(folder)


@pytest.fixture
def programs(monkeypatch, tmp_path):
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path / "cache"))
    made, original = [], Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *args: (original(self, *args), made.append(self))[0])
    return made


def load(pair, file, **kwargs):
    pair[0].load_lora_weights(file, **kwargs)
    pair[1].load_lora_weights(str(file.parent), weight_name=file.name, **kwargs)


def outputs(pipeline):
    sample, embeds = noise((2, 4, 12, 20)), noise((2, 77, 32), "embeds")
    with torch.no_grad(), paddle.no_grad():
        if isinstance(pipeline.unet, torch.nn.Module):
            return pipeline.unet(torch.from_numpy(sample), 7, torch.from_numpy(embeds)).sample
        return pipeline.unet(paddle.to_tensor(sample), 7, paddle.to_tensor(embeds)).sample


def assert_same(pair):
    assert_close(*map(outputs, pair))


def test_results_of_diffusers(pair, files):
    """Each file in place of the one before; the weight becomes 1.

    After a file with another alpha / rank, weights that are set in PEFT multiply that of the first file.
    """
    for pipeline in pair:
        pipeline.enable_lora_hotswap(target_rank=RANK)
    load(pair, files[0], adapter_name="style")
    for file in (*files[1:], files[0]):
        load(pair, file, adapter_name="style", hotswap=True)
        assert_same(pair)
        if "kohya" not in file.name:
            for pipeline in pair:
                pipeline.set_adapters("style", 0.4)
            assert_same(pair)


@pytest.mark.parametrize("backend", ["openvino", "onednn"])
def test_a_compiled_network_is_compiled_once(pair, files, programs, backend, folder):
    """Files, weights, activity and disabling are inputs; the results are those of eager mode."""
    ours, eager = pair[0], load_both(folder)[0]
    for pipeline in (ours, eager):
        pipeline.enable_lora_hotswap(target_rank=RANK)
        pipeline.load_lora_weights(files[0], adapter_name="style")
        pipeline.load_lora_weights(files[1], adapter_name="detail")
        pipeline.set_adapters(["style", "detail"], [0.7, 0.4])
    compile(ours.unet, backend=backend)
    steps = [
        lambda p: None,
        lambda p: p.load_lora_weights(files[2], adapter_name="style", hotswap=True),
        lambda p: p.set_adapters("detail", -0.5),
        lambda p: p.load_lora_weights(files[3], adapter_name="detail", hotswap=True),
        lambda p: p.set_adapters(["detail", "style"], [0.3, {"unet": {"mid": 0.2, "up": 1.4}}]),
        lambda p: p.disable_lora(),
        lambda p: p.enable_lora(),
        lambda p: p.load_lora_weights(files[0], adapter_name="detail", hotswap=True),
    ]
    seen = []
    for step in steps:
        for pipeline in (ours, eager):
            step(pipeline)
        seen.append(outputs(ours).numpy())
        assert_close(seen[-1], outputs(eager))
    assert len(programs) == 1
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(seen, seen[1:]))


def test_text_encoders(pair, folder, tmp_path):
    """diffusers cannot replace adapters of text encoders; the reference loads the second file alone."""
    first, second = (save_peft_lora(tmp_path / n, folder, n, 2, ATTENTION, TEXT) for n in ("first", "second"))
    pair[0].load_lora_weights(first, adapter_name="style")
    pair[0].load_lora_weights(second, adapter_name="style", hotswap=True)
    pair[1].load_lora_weights(str(second.parent), weight_name=second.name)
    assert_same(pair)
    with torch.no_grad():
        assert_close(*(pipeline.encode_prompt("a cat", "cpu", 1, False)[0] for pipeline in pair))


def test_enabling_after_loading(pair, files, caplog):
    for pipeline, error in zip(pair, (InputError, RuntimeError)):
        pipeline.load_lora_weights(str(files[0].parent), weight_name=files[0].name, adapter_name="style")
        with pytest.raises(error, match="before"):
            pipeline.enable_lora_hotswap(target_rank=RANK)
    ours, _ = pair
    with pytest.raises(InputError, match="'error', 'warn' or 'ignore'"):
        ours.enable_lora_hotswap(target_rank=RANK, check_compiled="other")
    with pytest.raises(InputError, match="above the target rank 3(.|\n)*rank 4"):
        ours.enable_lora_hotswap(target_rank=3, check_compiled="ignore")
    ours.set_adapters("style", 0.6)
    expected = outputs(ours)
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        ours.enable_lora_hotswap(target_rank=RANK, check_compiled="warn")
    assert "before the first one is loaded" in caplog.text
    assert {delta.rank for delta in get_adapters(ours.unet)["style"].values()} == {RANK}
    assert_close(outputs(ours), expected)


def test_errors(pair, files, caplog):
    ours, _ = pair
    ours.enable_lora_hotswap(target_rank=4)
    with pytest.raises(InputError, match="above the target rank 4(.|\n)*rank 6(.|\n)*target_rank"):
        ours.load_lora_weights(files[2], adapter_name="style")
    assert ours.get_list_adapters() == {}
    ours.load_lora_weights(files[0], adapter_name="style")
    with pytest.raises(InputError, match="to replace(.|\n)*one of style"):
        ours.load_lora_weights(files[0], adapter_name="other", hotswap=True)
    ours.fuse_lora()
    with pytest.raises(InputError, match="cannot be replaced; nothing was changed(.|\n)*'style' is fused"):
        ours.load_lora_weights(files[1], adapter_name="style", hotswap=True)
    ours.unfuse_lora()
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        ours.load_lora_weights(files[2], adapter_name="style", hotswap=True)
    assert "compiled again" in caplog.text
