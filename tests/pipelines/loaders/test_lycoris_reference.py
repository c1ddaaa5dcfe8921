"""LyCORIS' own modules, live: what `lycoris-lora` computes and saves, ours loads and computes."""

import re

import numpy as np
import paddle
import pytest
import torch
from lycoris import modules

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.models.adapters import DoRA, get_adapters
from tests.pipelines.support import load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.parity import assert_close, noise, rng_for
from tests.support.stable_diffusion_xl import POOLED, WIDTHS, tiny_stable_diffusion_xl

LINEAR = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"  # [64, 32], without bias
SQUARE = "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"  # [64, 64]
CONV = "down_blocks.1.resnets.0.conv1"  # [64, 32, 3, 3]
POINTWISE = "mid_block.attentions.0.proj_in"  # [64, 64, 1, 1]
DECOMPOSED = {"weight_decompose": True}
ON_INPUT = {"weight_decompose": True, "wd_on_out": False}

CASES = {
    "LoCon": ("LoConModule", {}),
    "LoCon, Tucker": ("LoConModule", {"use_tucker": True}),
    "LoCon, rank-stabilized": ("LoConModule", {"rs_lora": True}),
    "LoCon, decomposed": ("LoConModule", DECOMPOSED),
    "LoCon, decomposed, Tucker": ("LoConModule", {"use_tucker": True, **DECOMPOSED}),
    "LoCon, decomposed on input": ("LoConModule", ON_INPUT),
    "LoHa": ("LohaModule", {}),
    "LoHa, Tucker": ("LohaModule", {"use_tucker": True}),
    "LoHa, decomposed": ("LohaModule", DECOMPOSED),
    "LoHa, decomposed on input": ("LohaModule", ON_INPUT),
    "LoKr": ("LokrModule", {"factor": 4}),
    "LoKr, both factors": ("LokrModule", {"factor": 4, "decompose_both": True}),
    "LoKr, whole": ("LokrModule", {"factor": 8, "full_matrix": True}),
    "LoKr, Tucker": ("LokrModule", {"factor": 4, "use_tucker": True}),
    "LoKr, decomposed": ("LokrModule", {"factor": 4, **DECOMPOSED}),
    "LoKr, decomposed on input": ("LokrModule", {"factor": 4, **ON_INPUT}),
    "full": ("FullModule", {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pair(loaded):
    yield loaded
    loaded[0].unload_lora_weights()


def outputs(pair):
    sample, embeds = noise((2, 4, 12, 20)), noise((2, 77, 32), "embeds")
    with torch.no_grad(), paddle.no_grad():
        reference = pair[1].unet(torch.from_numpy(sample), 7, torch.from_numpy(embeds)).sample
        return pair[0].unet(paddle.to_tensor(sample), 7, paddle.to_tensor(embeds)).sample, reference


def reference_of(layer, name, kind, settings):
    """A module of LyCORIS with random values; magnitudes are 0.5 to 2 times the norms."""
    module = getattr(modules, kind)(name, layer, lora_dim=3, alpha=2.0, **settings)
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            values = torch.from_numpy(rng_for(f"{name} {key}").standard_normal(tuple(parameter.shape)).astype("f4"))
            if "dora_scale" in key:
                parameter.mul_(2 ** values.clip(-1, 1))
            elif "org" not in key:
                parameter.copy_(values * 0.3)
    return module


@pytest.mark.parametrize("case", CASES)
def test_modules(pair, case):
    """The modules replace the forward of diffusers' layers; their merged LoHa and LoKr apply alpha / rank twice."""
    kind, settings = CASES[case]
    ours, theirs = pair
    before = outputs(pair)[0].numpy()
    references, tensors = [], {}
    for path in (LINEAR, SQUARE, CONV, POINTWISE):
        stem = f"lora_unet_{path.replace('.', '_')}"
        module = reference_of(theirs.unet.get_submodule(path), stem, kind, settings)
        module.apply_to()
        references.append(module)
        tensors |= {f"{stem}.{key}": tensor.detach().clone() for key, tensor in module.custom_state_dict().items()}
    decomposed = "weight_decompose" in settings
    try:
        ours.load_lora_weights(tensors)
        deltas = get_adapters(ours.unet)["default_0"].values()
        assert len(deltas) == 4 and all(isinstance(delta, DoRA) == decomposed for delta in deltas)
        # LyCORIS and PEFT weight a decomposition in different ways; ours is that of PEFT (tests/models/adapters)
        for weight in (1.0,) if decomposed else (0.6, 1.0):
            ours.set_adapters("default_0", weight)
            for module in references:
                module.multiplier = weight
            found, expected = outputs(pair)
            assert np.abs(found.numpy() - before).max() > 1e-2
            assert_close(found, expected)
    finally:
        for module in references:
            module.restore()
    ours.fuse_lora()
    assert_close(outputs(pair)[0], expected)
    ours.unfuse_lora()
    ours.unload_lora_weights()
    assert_close(*outputs(pair))


# Module of Stable Diffusion XL's networks -> its name in files
XL_LAYERS = {
    ("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"): (
        "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k"
    ),
    ("unet", "down_blocks.0.resnets.0.conv1"): "lora_unet_input_blocks_1_0_in_layers_2",
    ("text_encoder", "text_model.encoder.layers.0.mlp.fc1"): "lora_te1_text_model_encoder_layers_0_mlp_fc1",
    ("text_encoder_2", "text_model.encoder.layers.0.self_attn.q_proj"): (
        "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"
    ),
}


@pytest.mark.parametrize("kind", ["LohaModule", "LokrModule", "FullModule"])
def test_names_of_stable_diffusion_xl(pair_xl, kind):
    """Each module has an effect on the embeddings or on the UNet, and the result is that of LyCORIS."""
    ours, theirs = pair_xl
    before = [output.numpy() for output in outputs_xl(ours)]
    references, tensors = [], {}
    for (component, path), stem in XL_LAYERS.items():
        module = reference_of(getattr(theirs, component).get_submodule(path), stem, kind, {"factor": 4})
        module.apply_to()
        references.append(module)
        tensors |= {f"{stem}.{key}": tensor.detach().clone() for key, tensor in module.custom_state_dict().items()}
    try:
        ours.load_lora_weights(tensors)
        for found, expected, unchanged in zip(outputs_xl(ours), outputs_xl(theirs), before, strict=True):
            assert np.abs(found.numpy() - unchanged).max() > 1e-2
            assert_close(found, expected)
    finally:
        for module in references:
            module.restore()


@pytest.fixture(scope="module")
def loaded_xl(tmp_path_factory):
    return load_both(tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl")))


@pytest.fixture
def pair_xl(loaded_xl):
    yield loaded_xl
    loaded_xl[0].unload_lora_weights()


def outputs_xl(pipeline):
    """The embeddings of both text encoders, and the UNet's output for fixed ones."""
    tensor = torch.from_numpy if isinstance(pipeline.unet, torch.nn.Module) else paddle.to_tensor
    sample, embeds = tensor(noise((2, 4, 12, 20))), tensor(noise((2, 77, sum(WIDTHS)), "embeds"))
    sizes = tensor(np.arange(12, dtype="float32").reshape(2, 6))
    added = {"text_embeds": tensor(noise((2, POOLED), "pooled")), "time_ids": sizes}
    with torch.no_grad(), paddle.no_grad():
        encoded = pipeline.encode_prompt("a red circle", device="cpu", do_classifier_free_guidance=False)[0]
        noises = pipeline.unet(sample, 7, embeds, added_cond_kwargs=added).sample
    return encoded[..., : WIDTHS[0]], encoded[..., WIDTHS[0] :], noises


@pytest.mark.parametrize("kind", ["IA3Module", "DiagOFTModule", "ButterflyOFTModule", "GLoRAModule"])
def test_other_formats_are_errors_that_list_the_keys(pair, kind):
    ours, theirs = pair
    stem = f"lora_unet_{SQUARE.replace('.', '_')}"
    module = reference_of(theirs.unet.get_submodule(SQUARE), stem, kind, {})
    tensors = {f"{stem}.{key}": tensor for key, tensor in (module.custom_state_dict() or module.state_dict()).items()}
    key = next(key for key in tensors if not key.endswith(".alpha"))
    with pytest.raises(WeightsError, match=re.escape(key)):
        ours.load_lora_weights(tensors)
    assert ours.get_list_adapters() == {}
