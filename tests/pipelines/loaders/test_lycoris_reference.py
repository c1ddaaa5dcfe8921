"""LyCORIS' own modules, live: what `lycoris-lora` computes and saves, ours loads and computes."""

import re

import numpy as np
import paddle
import pytest
import torch
from lycoris import modules

from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.models.adapters import DoRA, create_lora, get_adapters
from ppdiffusers.runtime.compiling import Program, compile
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


GROUP_NORM = "down_blocks.0.resnets.0.norm1"
LAYER_NORM = "mid_block.attentions.0.transformer_blocks.0.norm2"
TEXT_NORM = "text_model.encoder.layers.0.layer_norm1"


def text_outputs(pair):
    with torch.no_grad():
        return [pipeline.encode_prompt("a red circle", "cpu", 1, False)[0] for pipeline in pair]


def test_norms(pair):
    """`w_norm` and `b_norm` of group norms, layer norms and a text encoder, next to a LoCon and with its weight."""
    ours, theirs = pair
    before, text_before = outputs(pair)[0].numpy(), text_outputs(pair)[0].numpy()
    norms = {
        ("unet", path): f"lora_unet_{path.replace('.', '_')}" for path in (GROUP_NORM, LAYER_NORM, "conv_norm_out")
    }
    norms |= {("text_encoder", TEXT_NORM): f"lora_te_{TEXT_NORM.replace('.', '_')}"}
    references, tensors = [], {}
    for (component, path), stem in [*norms.items(), (("unet", CONV), f"lora_unet_{CONV.replace('.', '_')}")]:
        kind = "LoConModule" if path == CONV else "NormModule"
        module = reference_of(getattr(theirs, component).get_submodule(path), stem, kind, {})
        module.apply_to()
        references.append(module)
        tensors |= {f"{stem}.{key}": t.detach().clone() for key, t in module.state_dict().items() if "org" not in key}
    assert sum(key.endswith((".w_norm", ".b_norm")) for key in tensors) == 8
    unfused = None
    try:
        ours.load_lora_weights(tensors)
        for weight in (1.0, 0.6):
            ours.set_adapters("default_0", weight)
            for module in references:
                module.multiplier = weight
            unfused, expected = outputs(pair)
            assert np.abs(unfused.numpy() - before).max() > 1e-2
            assert_close(unfused, expected)
            found, expected_text = text_outputs(pair)
            assert np.abs(found.numpy() - text_before).max() > 1e-2
            assert_close(found, expected_text)
    finally:
        for module in references:
            module.restore()
    ours.fuse_lora()
    assert_close(outputs(pair)[0], unfused)
    ours.unfuse_lora()
    ours.unload_lora_weights()
    assert np.array_equal(outputs(pair)[0].numpy(), before)


@pytest.mark.parametrize("backend", ["openvino", "onednn"])
def test_norms_of_a_compiled_network(folder, backend, tmp_path, monkeypatch):
    """The result is that of eager mode, also for another weight, without compiling again."""
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path))
    made, original = [], Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *args: (original(self, *args), made.append(self))[0])
    (ours, theirs), tensors = load_both(folder), {}
    for path in (GROUP_NORM, LAYER_NORM, "conv_norm_out"):
        layer = theirs.unet.get_submodule(path)
        for name, tensor in (("w_norm", layer.weight.data), ("b_norm", layer.bias.data)):
            change = 0.3 * torch.from_numpy(noise(tuple(tensor.shape), f"{path} {name}"))
            tensors[f"lora_unet_{path.replace('.', '_')}.{name}"] = change
            tensor += 0.4 * change
    ours.load_lora_weights(tensors)
    compile(ours.unet, backend=backend)
    outputs((ours, theirs))
    ours.set_adapters("default_0", 0.4)
    assert_close(*outputs((ours, theirs)))
    assert len(made) == 1


def test_changes_of_biases(pair):
    """`diff_b` alone, and next to a LoRA: alpha / rank does not apply to it (as in ComfyUI)."""
    ours, theirs = pair
    changed = {path: theirs.unet.get_submodule(path).bias for path in (CONV, SQUARE, "conv_norm_out")}
    before = {path: bias.data.clone() for path, bias in changed.items()}
    change = {path: 0.3 * torch.from_numpy(noise(tuple(bias.shape), path)) for path, bias in changed.items()}
    tensors = {f"lora_unet_{path.replace('.', '_')}.diff_b": tensor for path, tensor in change.items()}
    stem = f"lora_unet_{SQUARE.replace('.', '_')}"
    module = reference_of(theirs.unet.get_submodule(SQUARE), stem, "LoConModule", {})
    tensors |= {f"{stem}.{key}": t.detach().clone() for key, t in module.custom_state_dict().items()}
    ours.load_lora_weights(tensors)
    ours.set_adapters("default_0", 0.6)
    module.multiplier = 0.6
    module.apply_to()
    for path, bias in changed.items():
        bias.data += 0.6 * change[path]
    try:
        assert_close(*outputs(pair))
    finally:
        module.restore()
        for path, bias in changed.items():
            bias.data.copy_(before[path])


def test_adapters_that_do_not_fit_norms(pair):
    ours, theirs = pair
    size, stem = theirs.unet.conv_norm_out.num_channels, "lora_unet_conv_norm_out"
    lora = {f"{stem}.lora_down.weight": torch.ones(2, size), f"{stem}.lora_up.weight": torch.ones(size, 2)}
    norm = {f"{stem}.w_norm": torch.ones(size), f"{stem}.dora_scale": torch.ones(size, 1)}
    for tensors in (lora, norm, {f"{stem}.w_norm": torch.ones(size + 1)}):
        with pytest.raises((InputError, WeightsError), match="conv_norm_out: (a norm|dora_scale|Full changes)"):
            ours.load_lora_weights(tensors)
    with pytest.raises(InputError, match="conv_norm_out: a norm has no matrix"):
        create_lora(ours.unet, ["conv_norm_out"])
    assert ours.get_list_adapters() == {}


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
    name = {"IA3Module": "(IA)^3", "GLoRAModule": "GLoRA"}.get(kind, "OFT")
    with pytest.raises(WeightsError, match=f"unsupported kind: {re.escape(name)}(.|\n)*{re.escape(key)}"):
        ours.load_lora_weights(tensors)
    assert ours.get_list_adapters() == {}
