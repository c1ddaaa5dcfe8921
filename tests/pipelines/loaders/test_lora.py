"""LoRA of Stable Diffusion pipelines against diffusers with PEFT, live: every format and every method."""

import logging

import numpy as np
import paddle
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file

from ppdiffusers.core.errors import InputError, SourceError, WeightsError
from ppdiffusers.models.adapters import get_adapters
from ppdiffusers.runtime.compiling import Program, compile, decompile
from tests.pipelines.support import PROMPTS, assert_images_agree, call_both, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.lora import (
    ALL_LAYERS,
    ATTENTION,
    CONVOLUTIONS,
    MLP,
    TEXT,
    as_kohya,
    as_lora_linear_layer,
    as_old_processors,
    renamed,
    save_peft_lora,
)
from tests.support.parity import assert_close, noise

CALL = {"prompt": PROMPTS, "num_inference_steps": 3, "height": 24, "width": 40, "output_type": "np"}
COMPONENTS = ("unet", "text_encoder")


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def variant(request, tmp_path_factory):
    """(folder, ours, diffusers')."""
    folder = tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), variant=request.param, safety_checker=False)
    return folder, *load_both(folder)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)
    return folder, *load_both(folder)


@pytest.fixture(scope="module")
def files(loaded, tmp_path_factory):
    """Two LoRA files for the UNet and the text encoder of `loaded`."""
    folder = tmp_path_factory.mktemp("lora")
    style = save_peft_lora(folder / "style", loaded[0], "style", 4, ALL_LAYERS, TEXT)
    return style, save_peft_lora(folder / "detail", loaded[0], "detail", 3, ATTENTION, [*TEXT, *MLP])


@pytest.fixture
def pair(loaded):
    """(ours, diffusers') without adapters."""
    _, *pipelines = loaded
    yield tuple(pipelines)
    for pipeline in pipelines:
        pipeline.unfuse_lora()
        pipeline.unload_lora_weights()
    decompile(pipelines[0].unet)
    pipelines[0]._lora_target_rank = None
    pipelines[1]._lora_scale = 1.0  # diffusers scales a text encoder's adapters by that of the last call


def load(ours, theirs, file, **kwargs):
    """Load a file into both; without a network diffusers finds it by folder and name only."""
    ours.load_lora_weights(file, **kwargs)
    theirs.load_lora_weights(str(file.parent), weight_name=file.name, **kwargs)


def unet_outputs(ours, theirs, **kwargs):
    sample, embeds = noise((2, 4, 12, 20)), noise((2, 77, 32), "embeds")
    with torch.no_grad():
        reference = theirs.unet(torch.from_numpy(sample), 7, torch.from_numpy(embeds), **kwargs).sample
    with paddle.no_grad():
        return ours.unet(paddle.to_tensor(sample), 7, paddle.to_tensor(embeds), **kwargs).sample, reference


def text_outputs(ours, theirs):
    ids = np.random.default_rng(0).integers(3, 200, (2, 9))
    with torch.no_grad(), paddle.no_grad():
        return ours.text_encoder(paddle.to_tensor(ids))[0], theirs.text_encoder(torch.from_numpy(ids))[0]


def assert_same(ours, theirs, images=True, **kwargs):
    assert_close(*unet_outputs(ours, theirs), what="UNet")
    assert_close(*text_outputs(ours, theirs), what="text encoder")
    if images:
        mine, reference = call_both(ours, theirs, seed=3, **CALL, **kwargs)
        assert_images_agree(mine.images, reference.images)


def weights_of(pipeline):
    return {
        f"{name}.{key}": tensor.numpy().copy()
        for name in COMPONENTS
        for key, tensor in getattr(pipeline, name).state_dict().items()
    }


# -- formats ------------------------------------------------------------------------------------------------------


def _peft(folder, checkpoint):
    return save_peft_lora(folder, checkpoint, "style", 4, ALL_LAYERS, [*TEXT, *MLP])


def _bin(folder, checkpoint):
    return save_peft_lora(folder, checkpoint, "style", 4, ALL_LAYERS, TEXT, safe_serialization=False)


def _old_processors(folder, checkpoint):
    source = save_peft_lora(folder, checkpoint, "style", 4, ATTENTION, TEXT)
    return renamed(source, folder / "old.safetensors", as_old_processors)


def _lora_linear_layer(folder, checkpoint):
    return renamed(_peft(folder, checkpoint), folder / "middle.safetensors", as_lora_linear_layer)


def _kohya(folder, checkpoint):
    return as_kohya(_peft(folder, checkpoint), folder / "kohya.safetensors", 4.0)


def _kohya_alpha(folder, checkpoint):
    return as_kohya(_peft(folder, checkpoint), folder / "kohya.safetensors", 2.5)


def _kohya_without_alpha(folder, checkpoint):
    return as_kohya(_peft(folder, checkpoint), folder / "kohya.safetensors", None)


def _convolutions(folder, checkpoint):
    return save_peft_lora(folder, checkpoint, "style", 5, [*ALL_LAYERS, *CONVOLUTIONS], TEXT)


FORMATS = [
    *(_peft, _bin, _old_processors, _lora_linear_layer, _kohya, _kohya_alpha, _kohya_without_alpha, _convolutions)
]


@pytest.mark.parametrize("save", FORMATS, ids=lambda function: function.__name__.strip("_"))
def test_formats(variant, save, tmp_path):
    checkpoint, ours, theirs = variant
    before = unet_outputs(ours, theirs)[0]
    file = save(tmp_path, checkpoint)
    load(ours, theirs, file)
    try:
        assert np.abs((unet_outputs(ours, theirs)[0] - before).numpy()).max() > 1e-2
        assert_same(ours, theirs)
        assert ours.get_list_adapters() == theirs.get_list_adapters()
    finally:
        for pipeline in (ours, theirs):
            pipeline.unload_lora_weights()
    assert_close(*unet_outputs(ours, theirs))
    assert ours.get_list_adapters() == {}


def test_attention_processors_without_prefix(loaded, pair, tmp_path):
    """`unet.save_attn_procs` of diffusers 0.12 to 0.16 writes no component."""
    ours, theirs = pair
    file = save_peft_lora(tmp_path, loaded[0], "style", 4, ATTENTION)
    old = renamed(file, tmp_path / "old.safetensors", lambda key: as_old_processors(key).removeprefix("unet."))
    theirs.load_lora_weights(str(tmp_path), weight_name=file.name)
    ours.load_lora_weights(old)
    assert_same(ours, theirs, images=False)


# -- methods ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(pair, files):
    """Both pipelines with the adapters "style" and "detail"."""
    for file, name in zip(files, ("style", "detail")):
        load(*pair, file, adapter_name=name)
    return pair


BLOCKS = {"unet": {"down": 0.3, "mid": 0.6, "up": {"block_1": [0.5, 1.4]}}, "text_encoder": 0.2}
WEIGHTS = {
    "one": ("style", None),
    "both": (["style", "detail"], [0.7, 0.4]),
    "one number": (["style", "detail"], 0.5),
    "a weight for each component": (["style", "detail"], [{"unet": 0.4, "text_encoder": 1.2}, {"unet": 0.8}]),
    "a weight for each block": ("style", BLOCKS),
    "blocks, and a number": (["detail", "style"], [BLOCKS, 0.6]),
    "blocks with one list": ("style", {"unet": {"up": [0.2, 0.9]}}),
}


def test_set_adapters(mixed):
    assert mixed[0].get_list_adapters() == mixed[1].get_list_adapters()
    assert mixed[0].get_active_adapters() == mixed[1].get_active_adapters() == ["detail"]
    for names, weights in WEIGHTS.values():
        for pipeline in mixed:
            pipeline.set_adapters(names, weights)
        assert_same(*mixed, images=weights == BLOCKS)
        assert set(mixed[0].get_active_adapters()) == set(mixed[1].get_active_adapters())


def test_one_dictionary_is_for_all_adapters(mixed):
    """diffusers gives it to the first one."""
    ours, theirs = mixed
    ours.set_adapters(["style", "detail"], {"unet": BLOCKS["unet"], "text_encoder": 0.4})
    theirs.set_adapters(["style", "detail"], [{"unet": BLOCKS["unet"], "text_encoder": 0.4} for _ in range(2)])
    assert_same(*mixed, images=False)


def test_disable_and_enable(mixed):
    with_adapters = unet_outputs(*mixed)[0]
    for pipeline in mixed:
        pipeline.disable_lora()
    assert_same(*mixed, images=False)
    assert np.abs((unet_outputs(*mixed)[0] - with_adapters).numpy()).max() > 1e-2
    for pipeline in mixed:
        pipeline.enable_lora()
    assert_same(*mixed, images=False)
    mixed[0].set_lora_device(["style"], "cpu")


def test_delete(mixed):
    for pipeline in mixed:
        pipeline.delete_adapters("detail")
    assert mixed[0].get_list_adapters() == mixed[1].get_list_adapters() == {c: ["style"] for c in COMPONENTS}
    assert mixed[0].get_active_adapters() == mixed[1].get_active_adapters() == ["style"]
    assert_same(*mixed, images=False)


def test_scale_of_a_call(mixed):
    for scale in (0.0, 0.35):
        mine, reference = call_both(*mixed, seed=3, **CALL, cross_attention_kwargs={"scale": scale})
        assert_images_agree(mine.images, reference.images)
    theirs = mixed[1].encode_prompt(PROMPTS[0], "cpu", 1, False, lora_scale=0.35)[0]
    assert_close(mixed[0].encode_prompt(PROMPTS[0], "cpu", 1, False, lora_scale=0.35)[0], theirs)


@pytest.fixture
def fresh(loaded, files):
    """`mixed` for tests that change weights: diffusers restores them inexactly, or not at all."""
    pipelines = load_both(loaded[0])
    for file, name in zip(files, ("style", "detail")):
        load(*pipelines, file, adapter_name=name)
    return pipelines


@pytest.mark.parametrize("options", [{}, {"lora_scale": 0.6}, {"adapter_names": ["style"]}, {"components": ["unet"]}])
def test_fuse(fresh, options):
    ours, theirs = fresh
    before = weights_of(ours)
    for pipeline in fresh:
        pipeline.set_adapters(["style", "detail"], [0.7, 0.4])
        pipeline.fuse_lora(safe_fusing=True, **options)
    assert ours.fused_loras == theirs.fused_loras
    assert ours.num_fused_loras == len(ours.fused_loras)
    assert_same(*fresh, images=False)
    ours.unfuse_lora()
    after = weights_of(ours)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert ours.num_fused_loras == 0


def test_fused_weights_stay_after_unloading(fresh):
    """The recipe of diffusers' documentation for saving a pipeline with a fused LoRA."""
    for pipeline in fresh:
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    assert fresh[0].get_list_adapters() == {}
    assert_same(*fresh, images=False)


def test_loading_after_fusing_unfuses(loaded, files, caplog):
    pipelines = load_both(loaded[0])
    load(*pipelines, files[0], adapter_name="style")
    before = weights_of(pipelines[0])
    for pipeline in pipelines:
        pipeline.fuse_lora()
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        load(*pipelines, files[1], adapter_name="detail")
    assert "style are no longer fused" in caplog.text
    assert_same(*pipelines, images=False)
    after = weights_of(pipelines[0])
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_deleting_a_fused_adapter_keeps_it_in_the_weights(loaded, files):
    pipelines = load_both(loaded[0])
    load(*pipelines, files[0], adapter_name="style")
    for pipeline in pipelines:
        pipeline.fuse_lora()
        pipeline.delete_adapters("style")
        pipeline.unfuse_lora()
    assert pipelines[0].get_list_adapters() == {}
    assert_same(*pipelines, images=False)
    load(*pipelines, files[1], adapter_name="detail")
    assert_same(*pipelines, images=False)


def test_save(mixed, loaded, tmp_path):
    """Ranks and alphas that differ, saved by ours and loaded by both."""
    ours, theirs = mixed
    before = text_outputs(*mixed)[0], unet_outputs(*mixed)[0]
    layers = {name: dict(get_adapters(getattr(ours, name))["detail"]) for name in COMPONENTS}
    path = next(iter(layers["unet"]))
    layers["unet"][path] = layers["unet"][path].padded(7)
    ours.save_lora_weights(tmp_path, layers["unet"], layers["text_encoder"])
    for pipeline in mixed:
        pipeline.unload_lora_weights()
    load(*mixed, tmp_path / "pytorch_lora_weights.safetensors")
    assert_same(*mixed, images=False)
    assert_close(text_outputs(*mixed)[0], before[0])
    assert_close(unet_outputs(*mixed)[0], before[1])


def test_saved_state_dicts_are_unchanged(pair, files, tmp_path):
    tensors = load_arrays(files[0])
    unet = {key.removeprefix("unet."): value for key, value in tensors.items() if key.startswith("unet.")}
    pair[0].save_lora_weights(tmp_path, unet, weight_name="mine.safetensors")
    again = load_arrays(tmp_path / "mine.safetensors")
    assert all(np.array_equal(again[f"unet.{key}"], value) for key, value in unet.items())


# -- sources ------------------------------------------------------------------------------------------------------


def test_sources(pair, files, tmp_path):
    ours, theirs = pair
    load(ours, theirs, files[0])
    expected = unet_outputs(ours, theirs)[0].numpy()
    tensors = load_file(files[0])
    save_file(tensors, tmp_path / "any name.safetensors")
    (tmp_path / "optimizer.bin").write_bytes(b"state")
    sources = {
        "folder": (files[0].parent, {}),
        "file of any name in a folder": (tmp_path, {}),
        "weight_name": (str(tmp_path), {"weight_name": "any name.safetensors"}),
        "subfolder": (tmp_path.parent, {"subfolder": tmp_path.name, "use_safetensors": True}),
        "dictionary of torch": (tensors, {}),
        "dictionary of paddle": ({key: paddle.to_tensor(value.numpy()) for key, value in tensors.items()}, {}),
    }
    for number, (source, options) in enumerate(sources.values()):
        ours.load_lora_weights(source, f"again {number}", **options)
        assert np.array_equal(unet_outputs(ours, theirs)[0].numpy(), expected)


def test_dictionaries_of_torch_in_bfloat16_and_of_parameters(pair, files):
    """The values are those of the same tensors in float32."""
    ours, theirs = pair
    tensors = {key: torch.nn.Parameter(tensor.bfloat16()) for key, tensor in load_file(files[0]).items()}
    ours.load_lora_weights(tensors)
    theirs.load_lora_weights({key: tensor.detach().float() for key, tensor in tensors.items()})
    assert_same(ours, theirs, images=False)


def test_hotswap(mixed, files):
    ours, theirs = mixed
    ours.set_adapters(["style", "detail"], [0.5, 0.25])
    expected = unet_outputs(ours, theirs)[0].numpy()
    ours.load_lora_weights(files[1], "style", hotswap=True)
    ours.set_adapters("style")
    theirs.set_adapters("detail")
    assert_same(ours, theirs, images=False)
    ours.load_lora_weights(files[0], "style", hotswap=True)
    ours.set_adapters(["style", "detail"], [0.5, 0.25])
    assert np.array_equal(unet_outputs(ours, theirs)[0].numpy(), expected)


# -- errors -------------------------------------------------------------------------------------------------------


def test_errors_list_keys(pair, files, tmp_path):
    ours, _ = pair
    tensors = {key: value.numpy() for key, value in load_file(files[0]).items()}
    unet = {key: value for key, value in tensors.items() if key.startswith("unet.")}
    first, second = list(unet)[:2]
    with pytest.raises(WeightsError, match="no LoRA for these networks(.|\n)*transformer.block.lora_A"):
        ours.load_lora_weights({"transformer.block.lora_A.weight": unet[first]})
    with pytest.raises(WeightsError, match="known format(.|\n)*something.weight"):
        ours.load_lora_weights({**unet, "something.weight": unet[first]})
    with pytest.raises(WeightsError, match="incomplete"):
        ours.load_lora_weights({key: value for key, value in unet.items() if key != first})
    with pytest.raises(InputError, match="expected"):
        ours.load_lora_weights({**unet, first: unet[first][:, :-1], second: unet[second][:-1]})
    with pytest.raises(WeightsError, match="no tensors"):
        ours.load_lora_weights({})
    with pytest.raises(SourceError, match="weight_name"):
        ours.load_lora_weights(tmp_path)
    with pytest.raises(InputError, match="weight_nam="):
        ours.load_lora_weights(files[0], weight_nam="x")
    assert ours.get_list_adapters() == {}
    assert all(type(layer).__name__ == "Linear" for layer in ours.unet.sublayers() if hasattr(layer, "in_features"))


def test_errors_of_methods(mixed):
    ours, _ = mixed
    with pytest.raises(InputError, match="already exists"):
        ours.load_lora_weights({}, "style")
    with pytest.raises(InputError, match="to replace"):
        ours.load_lora_weights({}, "unknown", hotswap=True)
    for call in (ours.set_adapters, ours.delete_adapters):
        with pytest.raises(InputError, match="unknown(.|\n)*of detail, style"):
            call(["style", "unknown"])
    with pytest.raises(InputError, match="2 weights for 1"):
        ours.set_adapters("style", [1.0, 2.0])
    with pytest.raises(InputError, match="'side' is unknown(.|\n)*block_0(.|\n)*3 scales for 2"):
        ours.set_adapters("style", {"unet": {"side": 1, "up": {"block_0": 1, "block_1": [1, 2, 3]}}})
    with pytest.raises(InputError, match="vae"):
        ours.fuse_lora(components=["vae"])
    assert ours.get_active_adapters() == ["detail"]


def test_unmatched_keys_are_logged(pair, files, caplog):
    ours, _ = pair
    tensors = {key: value.numpy() for key, value in load_file(files[0]).items()}
    key = next(key for key in tensors if key.startswith("text_encoder."))
    other = key.replace("layers.0", "layers.11")
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        ours.load_lora_weights({**tensors, other: tensors[key]})
    assert other in caplog.text


# -- compiled networks --------------------------------------------------------------------------------------------


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """The programs that are made during a test, with an empty cache."""
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path / "cache"))
    made, original = [], Program.__init__

    def init(self, *args):
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(Program, "__init__", init)
    return made


def test_compiled_network_follows(pair, files, programs):
    """The UNet is compiled once: not for another weight, scale of a call, or a LoRA in place of another."""
    ours, theirs = pair
    ours.enable_lora_hotswap(target_rank=8)
    ours.load_lora_weights(files[1], "style")
    theirs.load_lora_weights(str(files[1].parent), weight_name=files[1].name, adapter_name="style")
    compile(ours.unet, backend="openvino")
    assert_close(*unet_outputs(ours, theirs))
    for weight in (0.4, 1.5):
        for pipeline in pair:
            pipeline.set_adapters("style", weight)
        assert_close(*unet_outputs(ours, theirs))
    layers = {key: tensor[:2] if "lora_A" in key else tensor[:, :2] for key, tensor in load_file(files[1]).items()}
    ours.load_lora_weights(layers, "style", hotswap=True)
    theirs.unload_lora_weights()
    theirs.load_lora_weights(layers, adapter_name="style")
    assert_close(*unet_outputs(ours, theirs))
    assert len(programs) == 1
    for scale in (0.5, 0.8):
        assert_close(*unet_outputs(ours, theirs, cross_attention_kwargs={"scale": scale}))
    assert len(programs) == 2, "a call with a scale has another signature; the scale itself is an input"
