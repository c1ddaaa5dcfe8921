"""LoRA methods of networks (`load_lora_adapter`, `load_attn_procs`, `add_adapter`, ...) against diffusers, live."""

import inspect
import logging

import diffusers
import numpy as np
import paddle
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from ppdiffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.models.adapters import LoraConfig, get_adapters
from tests.pipelines.support import load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.lora import ALL_LAYERS, ATTENTION, CONVOLUTIONS, TEXT, as_kohya, save_peft_lora
from tests.support.parity import assert_close, noise

BLOCKS = {"down": 0.3, "mid": 0.6, "up": {"block_1": [0.5, 1.4]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """Two LoRA files for the UNet and the text encoder."""
    target = tmp_path_factory.mktemp("lora")
    style = save_peft_lora(target / "style", folder, "style", 4, [*ALL_LAYERS, *CONVOLUTIONS], TEXT)
    return style, save_peft_lora(target / "detail", folder, "detail", 3, ATTENTION, TEXT)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def unets(loaded):
    """(ours, diffusers') without adapters."""
    yield tuple(pipeline.unet for pipeline in loaded)
    for pipeline in loaded:
        pipeline.unload_lora_weights()
    loaded[0].unet._lora_target_rank = None


def outputs(ours, theirs):
    sample, embeds = noise((2, 4, 12, 20)), noise((2, 77, 32), "embeds")
    with torch.no_grad():
        reference = theirs(torch.from_numpy(sample), 7, torch.from_numpy(embeds)).sample
    with paddle.no_grad():
        return ours(paddle.to_tensor(sample), 7, paddle.to_tensor(embeds)).sample, reference


def assert_same(unets):
    found, expected = outputs(*unets)
    assert_close(found, expected)
    return found.numpy()


def load(unets, file, **kwargs):
    for unet in unets:
        unet.load_lora_adapter(str(file.parent), prefix="unet", weight_name=file.name, **kwargs)


@pytest.fixture
def mixed(unets, files):
    """UNets with the adapters "style" and "detail"."""
    for file, name in zip(files, ("style", "detail")):
        load(unets, file, adapter_name=name)
    return unets


def test_load_weight_and_switch(mixed, unets):
    assert mixed[0].active_adapters() == mixed[1].active_adapters() == ["detail"]
    seen = [assert_same(mixed)]
    for names, weights in (
        ("style", None),
        (["style", "detail"], [0.7, 0.4]),
        (["style", "detail"], 0.5),
        (["detail", "style"], [BLOCKS, None]),
    ):
        for unet in mixed:
            unet.set_adapters(names, weights)
        seen.append(assert_same(mixed))
        assert set(mixed[0].active_adapters()) == set(mixed[1].active_adapters())
    for call in (
        lambda unet: unet.set_adapter("style"),
        lambda unet: unet.set_adapter(["style", "detail"]),
        lambda unet: unet.disable_lora(),
        lambda unet: unet.enable_lora(),
        lambda unet: unet.disable_adapters(),
        lambda unet: unet.enable_adapters(),
        lambda unet: unet.delete_adapters("detail"),
    ):
        for unet in mixed:
            unet.set_adapters(unet.active_adapters())  # PEFT keeps weights of inactive adapters
            call(unet)
        seen.append(assert_same(mixed))
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(seen, seen[1:]))
    for unet in mixed:
        unet.unload_lora()
    assert_same(mixed)
    assert get_adapters(mixed[0]) == {}


@pytest.mark.parametrize(
    "options", [{}, {"lora_scale": 0.6}, {"adapter_names": ["style"], "safe_fusing": True}], ids=str
)
def test_fuse(folder, files, options):
    """In new networks: diffusers restores weights inexactly."""
    unets = tuple(pipeline.unet for pipeline in load_both(folder))
    for file, name in zip(files, ("style", "detail")):
        load(unets, file, adapter_name=name)
    before = {key: value.numpy() for key, value in unets[0].state_dict().items()}
    for unet in unets:
        unet.set_adapters(["style", "detail"], [0.7, 0.4])
        unet.fuse_lora(**options)
    assert_same(unets)
    unets[0].unfuse_lora()
    assert all(np.array_equal(before[key], value.numpy()) for key, value in unets[0].state_dict().items())


def test_prefixes(unets, files, tmp_path, caplog):
    """Names without a prefix need `prefix=None`; otherwise there is a warning, as in diffusers."""
    tensors = {
        key.removeprefix("unet."): value for key, value in load_file(files[0]).items() if key.startswith("unet.")
    }
    for unet in unets:
        with caplog.at_level(logging.WARNING):
            unet.load_lora_adapter(dict(tensors), prefix="unet", adapter_name="ignored")
    assert "prefix" in caplog.text
    assert get_adapters(unets[0]) == {}
    for unet in unets:
        unet.load_lora_adapter(dict(tensors), prefix=None)
    assert list(get_adapters(unets[0])) == list(unets[1].peft_config) == ["default_0"]
    assert_same(unets)


def test_metadata_and_alphas(unets, files):
    """PEFT's configuration as an argument, and alphas that diffusers separates from a file of Kohya's."""
    tensors = load_file(files[1])
    own = {"r": 3, "lora_alpha": 7.5, "target_modules": ATTENTION, "rank_pattern": {}, "alpha_pattern": {"to_v": 1.5}}
    own = {f"unet.{key}": value for key, value in own.items()}
    for unet in unets:
        unet.load_lora_adapter(dict(tensors), prefix="unet", adapter_name="alpha", metadata=dict(own))
    found = assert_same(unets)
    for unet in unets:
        unet.unload_lora()
        unet.load_lora_adapter(dict(tensors), prefix="unet")
    assert np.abs(assert_same(unets) - found).max() > 1e-3
    with pytest.raises(InputError, match="both define alpha"):
        unets[0].load_lora_adapter(tensors, prefix="unet", network_alphas={"x": 1.0}, metadata=own)


def test_saved_files_are_loaded_by_diffusers(mixed, tmp_path):
    ours, theirs = mixed
    ours.set_adapters("style", 1.0)
    expected = outputs(ours, theirs)[0].numpy()
    ours.save_lora_adapter(tmp_path / "adapter", adapter_name="style")
    ours.save_attn_procs(tmp_path / "procs", weight_name="mine.safetensors")
    theirs.unload_lora()
    theirs.load_lora_adapter(str(tmp_path / "adapter"), prefix=None, weight_name="pytorch_lora_weights.safetensors")
    assert np.abs(assert_same(mixed) - expected).max() == 0
    theirs.unload_lora()
    theirs.load_attn_procs(str(tmp_path / "procs"), weight_name="mine.safetensors")
    assert_same(mixed)
    for name, folder, settings in (("adapter", "adapter", {"prefix": None}), ("procs", "procs", {})):
        ours.unload_lora()
        method = ours.load_lora_adapter if name == "adapter" else ours.load_attn_procs
        method(tmp_path / folder, **settings)
        assert np.array_equal(outputs(ours, theirs)[0].numpy(), expected)


def test_half_precision_is_saved_in_float32_if_asked(mixed, tmp_path):
    ours, _ = mixed
    for delta in get_adapters(ours)["style"].values():
        delta.to(dtype="bfloat16")
        assert delta.down.dtype == paddle.bfloat16
    for upcast in (False, True):
        ours.save_lora_adapter(tmp_path, adapter_name="style", upcast_before_saving=upcast)
        expected = torch.float32 if upcast else torch.bfloat16
        assert {t.dtype for t in load_file(tmp_path / "pytorch_lora_weights.safetensors").values()} == {expected}


def test_moved_and_cast_networks_keep_their_adapters(mixed):
    """Matrices are moved and cast with the weights; Paddle's `apply` visits all layers."""
    ours, theirs = mixed
    expected = outputs(ours, theirs)[0].numpy()
    assert np.array_equal(outputs(ours.to("cpu"), theirs)[0].numpy(), expected)
    assert np.array_equal(outputs(ours.to(dtype="float64").to(dtype="float32"), theirs)[0].numpy(), expected)
    seen = []
    ours.apply(seen.append)
    assert len(seen) == len(ours.sublayers(include_self=True))


def test_attn_procs_of_diffusers(unets, files, tmp_path):
    """A file with prefixes, of which the text encoder's tensors are ignored, and one without."""
    ours, theirs = unets
    for unet in unets:
        unet.load_attn_procs(str(files[0].parent), weight_name=files[0].name, adapter_name="default")
    found = assert_same(unets)
    theirs.save_attn_procs(tmp_path)
    ours.unload_lora()
    ours.load_attn_procs(tmp_path)
    assert np.array_equal(outputs(*unets)[0].numpy(), found)
    with pytest.raises(WeightsError, match="custom_diffusion"):
        ours.load_attn_procs({"mid_block.attn2.processor.to_k_custom_diffusion.weight": torch.ones(2, 2)})


CONFIGS = {
    "list": {"r": 3, "lora_alpha": 6, "target_modules": ["to_q", "to_v"]},
    "expression": {"r": 4, "target_modules": r".*mid_block.*(to_k|proj_in|conv1)", "init_lora_weights": "gaussian"},
    "patterns": {"r": 4, "target_modules": ATTENTION, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"attn1.to_q": 3}},
    "rank-stabilized": {"r": 4, "lora_alpha": 3, "target_modules": ATTENTION, "use_rslora": True},
}


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_add_adapter(unets, settings):
    """The layers, shapes and scales of PEFT; the output is unchanged until values are trained."""
    ours, theirs = unets
    before = outputs(ours, theirs)[0].numpy()
    theirs.add_adapter(peft.LoraConfig(**settings), "new")
    ours.add_adapter(peft.LoraConfig(**settings), "new")
    ours.add_adapter(LoraConfig(**settings), "own")
    ours.set_adapter("new")
    assert ours.active_adapters() == theirs.active_adapters() == ["new"]
    assert np.array_equal(outputs(ours, theirs)[0].numpy(), before)
    layers = get_adapters(ours)
    state = peft.get_peft_model_state_dict(theirs, adapter_name="new")
    assert len(state) == 2 * len(layers["new"]) == 2 * len(layers["own"])
    for path, lora in layers["new"].items():
        down, up = (state[f"{path}.lora_{part}.weight"] for part in "AB")
        assert list(lora.down.shape) == list(down.shape) == list(layers["own"][path].down.shape)
        assert not lora.down.stop_gradient and not lora.up.stop_gradient
        ratio = float(lora.down.std()) / float(down.std())
        assert 0.5 < ratio < 2
        for tensor, mine in ((down, lora.down), (up, lora.up)):
            values = noise(tuple(tensor.shape), path) * 0.3
            tensor.data.copy_(torch.from_numpy(values))
            mine.set_value(paddle.to_tensor(values))
    assert np.abs(assert_same(unets) - before).max() > 1e-3


def test_hotswap(unets, files, tmp_path):
    for unet in unets:
        unet.enable_lora_hotswap(target_rank=6)
    load(unets, files[0], adapter_name="style")
    assert_same(unets)
    assert {delta.rank for delta in get_adapters(unets[0])["style"].values()} == {6}
    halves = {key: value * 0.5 for key, value in load_file(files[0]).items()}
    save_file(halves, tmp_path / "half.safetensors")
    load(unets, tmp_path / "half.safetensors", adapter_name="style", hotswap=True)
    assert_same(unets)
    with pytest.raises(InputError, match="to replace(.|\n)*one of style"):
        load(unets[:1], files[0], adapter_name="other", hotswap=True)
    with pytest.raises(InputError, match="before"):
        unets[0].enable_lora_hotswap(target_rank=8)


def test_errors(mixed, tmp_path):
    ours, _ = mixed
    for call in (ours.set_adapter, ours.set_adapters, ours.delete_adapters, ours.save_lora_adapter):
        with pytest.raises(InputError, match="unknown(.|\n)*of detail, style"):
            call(*([tmp_path] if call == ours.save_lora_adapter else []), "unknown")
    with pytest.raises(InputError, match="already exists"):
        ours.load_lora_adapter({"unet.x": torch.ones(1)}, prefix="unet", adapter_name="style")
    with pytest.raises(InputError, match="already has"):
        ours.add_adapter(LoraConfig(target_modules=["to_q"]), "style")
    with pytest.raises(InputError, match="no layer matches"):
        ours.add_adapter(LoraConfig(target_modules=["to_x"]), "new")
    with pytest.raises(InputError, match="use_dora=True(.|\n)*lora_dropout=0.1(.|\n)*'pissa'"):
        config = {"use_dora": True, "lora_dropout": 0.1, "init_lora_weights": "pissa", "target_modules": ["to_q"]}
        ours.add_adapter(peft.LoraConfig(**config), "new")
    with pytest.raises(InputError, match="dict is not the configuration"):
        ours.add_adapter({"r": 4}, "new")
    ours.set_adapters(["style", "detail"])
    with pytest.raises(InputError, match="2 adapters are active"):
        ours.save_attn_procs(tmp_path)


# -- tensors of a file, as scripts pass them on -------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PEFT", "Kohya"])
def test_lora_state_dict(loaded, unets, files, tmp_path, form):
    """Read, then load into each network, or with `load_lora_weights`; both keep alpha."""
    file = files[0] if form == "PEFT" else as_kohya(files[0], tmp_path / "kohya.safetensors", 2.5)
    ids = paddle.to_tensor([[5, 9, 30, 2]])
    for pipeline in loaded:
        state, alphas = pipeline.lora_state_dict(str(file.parent), weight_name=file.name)
        assert (form == "PEFT") == (alphas is None) or pipeline is loaded[0]
        pipeline.load_lora_into_unet(state, alphas, pipeline.unet, adapter_name="style")
        pipeline.load_lora_into_text_encoder(
            state, alphas, pipeline.text_encoder, prefix="text_encoder", lora_scale=0.6, adapter_name="style"
        )
    found = assert_same(unets)
    with torch.no_grad():
        text = loaded[0].text_encoder(ids)[0]
        assert_close(text, loaded[1].text_encoder(torch.from_numpy(ids.numpy()))[0])
    assert loaded[0].get_list_adapters() == loaded[1].get_list_adapters()
    ours = loaded[0]
    ours.unload_lora_weights()
    ours.load_lora_weights(ours.lora_state_dict(file)[0])
    assert np.array_equal(outputs(*unets)[0].numpy(), found)


def test_alphas_that_diffusers_separates(loaded, unets, files, tmp_path):
    """State dict and alphas of diffusers' `lora_state_dict` in our networks."""
    file = as_kohya(files[0], tmp_path / "kohya.safetensors", 2.5)
    state, alphas = loaded[1].lora_state_dict(str(tmp_path), weight_name=file.name)
    assert alphas
    for pipeline in loaded:
        pipeline.load_lora_into_unet(dict(state), dict(alphas), pipeline.unet)
    assert_same(unets)


def test_configuration_of_a_file(loaded, files):
    found = [
        p.lora_state_dict(str(files[0].parent), weight_name=files[0].name, return_lora_metadata=True) for p in loaded
    ]
    assert len(found[0]) == len(found[1]) == 3
    assert found[0][0].keys() == found[1][0].keys()
    assert found[0][2] == found[1][2]


def test_arguments_that_diffusers_ignores(loaded, unets, files, caplog):
    ours = loaded[0]
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        ours.load_lora_weights(files[0], prefix="unet", unet_config=None, low_cpu_mem_usage=True, torch_dtype="float16")
    assert "prefix='unet', torch_dtype='float16'" in caplog.text
    with pytest.raises(InputError, match="weight_nam="):
        ours.load_lora_weights(files[0], weight_nam="x")
    with pytest.raises(InputError, match="not a valid name"):
        ours.load_lora_weights(files[0], adapter_name="")


# -- signatures ---------------------------------------------------------------------------------------------------

WORDS = ("lora", "adapter", "attn_procs", "textual_inversion", "freeu", "maybe_convert_prompt")
PAIRS = [
    (StableDiffusionPipeline, diffusers.StableDiffusionPipeline),
    (StableDiffusionXLPipeline, diffusers.StableDiffusionXLPipeline),
    (UNet2DConditionModel, diffusers.UNet2DConditionModel),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda cls: cls.__name__)
def test_signatures(ours, theirs):
    """Every public method about adapters exists, with the names, order and defaults of diffusers."""
    names = [name for name in dir(theirs) if not name.startswith("_") and any(word in name for word in WORDS)]
    names = [name for name in names if callable(getattr(theirs, name)) and name != "write_lora_layers"]
    assert len(names) > 15
    for name in names:
        mine, reference = (inspect.signature(getattr(cls, name)).parameters for cls in (ours, theirs))
        keywords = reference.keys() == {"self", "kwargs"}
        assert keywords or list(mine) == list(reference), name
        for key, parameter in reference.items():
            default = parameter.default
            assert keywords or mine[key].default == (tuple(default) if isinstance(default, list) else default), name
