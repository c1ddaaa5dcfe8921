"""LoRA of Stable Diffusion XL pipelines against diffusers with PEFT, live: Kohya's files, names of blocks, saving."""

import logging

import diffusers
import numpy as np
import paddle
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

import ppdiffusers
from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.models.adapters import get_adapters
from tests.pipelines.support import assert_images_agree, call_both, load_both
from tests.support.lora import ALL_LAYERS, CONVOLUTIONS, KOHYA_XL, MLP, TEXT, as_kohya, as_sgm, save_peft_lora
from tests.support.parity import assert_close, noise
from tests.support.stable_diffusion_xl import POOLED, WIDTHS, tiny_stable_diffusion_xl

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
CONV_LAYERS = [*ALL_LAYERS, *CONVOLUTIONS, "conv2", "upsamplers.0.conv"]
CALL = {"prompt": ["a cat", "一个红色的圆形"], "num_inference_steps": 2, "height": 24, "width": 40, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def source(folder, tmp_path_factory):
    """A LoRA of all networks, convolutions included, with PEFT's names."""
    target = tmp_path_factory.mktemp("lora")
    return save_peft_lora(target, folder, "style", 4, CONV_LAYERS, [*TEXT, *MLP], [*TEXT, *MLP, "text_projection"])


@pytest.fixture
def pair(loaded):
    yield loaded
    for pipeline in loaded:
        pipeline.unload_lora_weights()


def load(pair, file, **kwargs):
    pair[0].load_lora_weights(file, **kwargs)
    pair[1].load_lora_weights(str(file.parent), weight_name=file.name, **kwargs)


def unet_outputs(ours, theirs):
    arrays = noise((2, 4, 12, 20)), noise((2, 77, sum(WIDTHS)), "embeds"), noise((2, POOLED), "pooled")
    sizes = np.arange(12, dtype="float32").reshape(2, 6)

    def call(unet, tensor):
        sample, embeds, pooled = map(tensor, arrays)
        added = {"text_embeds": pooled, "time_ids": tensor(sizes)}
        return unet(sample, 7, embeds, added_cond_kwargs=added).sample

    with torch.no_grad(), paddle.no_grad():
        return call(ours.unet, paddle.to_tensor), call(theirs.unet, torch.from_numpy)


def assert_same(pair, images=False):
    assert_close(*unet_outputs(*pair), what="UNet")
    with torch.no_grad():
        embeds = [pipeline.encode_prompt("a red circle", "a cat", "cpu", negative_prompt="ugly") for pipeline in pair]
    for mine, reference in zip(*embeds):
        assert_close(mine, reference, what="text encoders")
    if images:
        mine, reference = call_both(*pair, seed=3, **CALL)
        assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("alpha", [4.0, 1.5, None], ids="alpha {}".format)
@pytest.mark.parametrize("rename", [as_sgm, lambda path: path], ids=["SGM", "diffusers"])
def test_kohya(pair, source, tmp_path, alpha, rename):
    before = unet_outputs(*pair)[0].numpy()
    file = as_kohya(source, tmp_path / "kohya.safetensors", alpha, KOHYA_XL, rename)
    load(pair, file)
    assert np.abs(unet_outputs(*pair)[0].numpy() - before).max() > 1e-2
    assert pair[0].get_list_adapters() == pair[1].get_list_adapters() == {name: ["default_0"] for name in COMPONENTS}
    layers = {name: get_adapters(getattr(pair[0], name))["default_0"] for name in COMPONENTS}
    assert sum(map(len, layers.values())) == len(load_file(source)) / 2
    assert_same(pair, images=alpha == 1.5)


def test_dora_of_kohya_equals_dora_of_peft(pair, folder, tmp_path):
    """diffusers drops `dora_scale` with a warning; the same file with PEFT's names is the reference."""
    file = save_peft_lora(tmp_path, folder, "dora", 3, CONV_LAYERS, TEXT, [*TEXT, *MLP], use_dora=True)
    load(pair, file)
    assert_same(pair, images=True)
    pair[0].unload_lora_weights()
    pair[0].load_lora_weights(as_kohya(file, tmp_path / "kohya.safetensors", 3.0, KOHYA_XL, as_sgm))
    assert_same(pair)
    for pipeline in pair:
        pipeline.set_adapters("default_0", 0.6)
    assert_same(pair)


def test_biases(pair, folder, tmp_path):
    targets = [name for name in CONV_LAYERS if name not in ("to_q", "to_k", "to_v")]
    load(pair, save_peft_lora(tmp_path, folder, "biased", 3, targets, TEXT, [*TEXT, *MLP], lora_bias=True))
    for pipeline in pair:
        pipeline.set_adapters("default_0", 0.6)
    assert_same(pair)


def test_tucker_cores(pair, source, tmp_path):
    """`lora_mid`, which diffusers refuses; the product of the core and a 1x1 convolution is the reference."""
    layer, rank = "lora_unet_input_blocks_3_0_in_layers_2", 4
    down = load_file(as_kohya(source, tmp_path / "k.safetensors", 1.5, KOHYA_XL, as_sgm))[f"{layer}.lora_down.weight"]
    core, inner = torch.from_numpy(noise((rank, rank, 3, 3), "core")) / 3, down[:, :, :1, :1].contiguous()
    tensors = {f"{layer}.alpha": torch.tensor(1.5), f"{layer}.lora_up.weight": torch.ones(32, rank, 1, 1) / 3}
    pair[0].load_lora_weights({**tensors, f"{layer}.lora_mid.weight": core, f"{layer}.lora_down.weight": inner})
    product = torch.einsum("abij,bc->acij", core, inner[:, :, 0, 0])
    pair[1].load_lora_weights({**tensors, f"{layer}.lora_down.weight": product})
    assert_same(pair)


def test_alphas_of_layers(pair, source, tmp_path):
    """The reference has alpha / rank in its matrices: diffusers uses one alpha for all attention layers."""
    file = as_kohya(source, tmp_path / "kohya.safetensors", 4.0, KOHYA_XL, as_sgm)
    tensors, product = load_file(file), load_file(file)
    for number, key in enumerate(key for key in tensors if key.endswith(".alpha")):
        alpha = 1.0 + number % 5
        tensors[key] = torch.tensor(alpha)
        product[key.replace(".alpha", ".lora_up.weight")] *= alpha / 4
    pair[0].load_lora_weights(tensors)
    pair[1].load_lora_weights(product)
    assert_same(pair)


BLOCKS = {"down": 0.3, "mid": 0.6, "up": {"block_0": [0.5, 1.4], "block_1": 0.1}}
WEIGHTS = {"unet": BLOCKS, "text_encoder": 0.2, "text_encoder_2": 0.7}


def test_weights_of_blocks_and_saved_files(pair, folder, tmp_path):
    """DoRA and biases next to a LoRA whose ranks and alphas differ, saved by ours, loaded by both."""
    ours, theirs = pair
    load(
        pair,
        save_peft_lora(tmp_path / "1", folder, "dora", 3, CONV_LAYERS, TEXT, TEXT, use_dora=True),
        adapter_name="dora",
    )
    load(
        pair, save_peft_lora(tmp_path / "2", folder, "style", 2, ALL_LAYERS, None, [*TEXT, *MLP]), adapter_name="style"
    )
    for pipeline in pair:
        pipeline.set_adapters(["style", "dora"], [WEIGHTS, 0.5])
    assert_same(pair)
    layers = {name: get_adapters(getattr(ours, name)) for name in COMPONENTS}
    path = next(iter(layers["unet"]["dora"]))
    layers["unet"]["dora"][path] = layers["unet"]["dora"][path].padded(5)
    ours.save_lora_weights(tmp_path / "dora", *(layers[name]["dora"] for name in COMPONENTS))
    ours.save_lora_weights(tmp_path / "style", layers["unet"]["style"], None, layers["text_encoder_2"]["style"])
    before = unet_outputs(*pair)[0]
    for pipeline in pair:
        pipeline.unload_lora_weights()
    for name in ("dora", "style"):
        load(pair, tmp_path / name / "pytorch_lora_weights.safetensors", adapter_name=name)
    for pipeline in pair:
        pipeline.set_adapters(["style", "dora"], [WEIGHTS, 0.5])
    assert_same(pair)
    assert_close(unet_outputs(*pair)[0], before)


def test_scale_of_a_call(pair, source):
    """UNet and both text encoders are scaled."""
    load(pair, source)
    for scale in (0.0, 0.35):
        mine, reference = call_both(*pair, seed=3, **CALL, cross_attention_kwargs={"scale": scale})
        assert_images_agree(mine.images, reference.images)
    with torch.no_grad():
        settings = {"device": "cpu", "do_classifier_free_guidance": False, "lora_scale": 0.35}
        embeds = [pipeline.encode_prompt("a red circle", **settings) for pipeline in pair]
    assert_close(embeds[0][0], embeds[1][0])
    assert_close(embeds[0][2], embeds[1][2])
    pair[1]._lora_scale = 1.0  # diffusers scales adapters of text encoders by that of the last call


def test_warnings_and_errors_list_keys(pair, source, tmp_path, caplog):
    ours, _ = pair
    tensors = load_file(as_kohya(source, tmp_path / "kohya.safetensors", 4.0, KOHYA_XL, as_sgm))
    for start, stem in (("lora_te1_", "layers_0"), ("lora_unet_", "input_blocks_3"), ("lora_te2_", "layers_0")):
        some = {key: tensor for key, tensor in tensors.items() if key.startswith(start)}
        extra = {key.replace(stem, f"{stem}7"): tensor for key, tensor in some.items()}
        with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
            caplog.clear()
            ours.load_lora_weights({**some, **extra})
        assert next(key for key in extra if key not in some) in caplog.text
        assert caplog.text.count("The LoRA file has no layers of") == 2
        ours.unload_lora_weights()
        with pytest.raises(
            WeightsError, match=f"no LoRA for these networks(.|\n)*{next(iter(extra.keys() - some.keys()))}"
        ):
            ours.load_lora_weights({key: tensor for key, tensor in extra.items() if key not in some})
    key = next(key for key in tensors if key.startswith("lora_te2_") and key.endswith("lora_up.weight"))
    with pytest.raises(InputError, match="nothing was changed(.|\n)*text_model.encoder.layers"):
        ours.load_lora_weights({**tensors, key: tensors[key][:-1]})
    assert ours.get_list_adapters() == {}


def test_files_with_both_names_of_blocks(pair, source, tmp_path):
    """diffusers ignores Stability AI's names in files that also have its own."""
    tensors = load_file(as_kohya(source, tmp_path / "own.safetensors", 4.0, KOHYA_XL))
    other = load_file(as_kohya(source, tmp_path / "other.safetensors", 4.0, KOHYA_XL, as_sgm))
    other = {key: tensor * 2 for key, tensor in other.items() if "input_blocks" in key}
    save_file({**other, **tensors}, tmp_path / "both.safetensors")
    load(pair, tmp_path / "both.safetensors")
    assert_same(pair)


@pytest.fixture
def mixed(folder, source, tmp_path):
    """Two adapters with weights, in new pipelines: diffusers restores fused weights inexactly."""
    pipelines = load_both(folder)
    other = save_peft_lora(tmp_path, folder, "detail", 2, ALL_LAYERS, None, [*TEXT, *MLP])
    for file, name in ((source, "style"), (other, "detail")):
        load(pipelines, file, adapter_name=name)
    for pipeline in pipelines:
        pipeline.set_adapters(["style", "detail"], [0.7, {"unet": 0.4, "text_encoder_2": 1.3}])
    return pipelines


def weights_of(pipeline):
    return {
        f"{name}.{key}": tensor.numpy().copy()
        for name in COMPONENTS
        for key, tensor in getattr(pipeline, name).state_dict().items()
    }


OPTIONS = [{}, {"lora_scale": 0.6, "components": ["unet", "text_encoder_2"]}, {"adapter_names": ["style"]}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fuse(mixed, options):
    """Also exact to rounding next to the outputs without fusing, and the bits are restored."""
    ours, theirs = mixed
    before, unfused = weights_of(ours), unet_outputs(*mixed)[0]
    for pipeline in mixed:
        pipeline.fuse_lora(safe_fusing=True, **options)
    assert ours.fused_loras == theirs.fused_loras
    assert_same(mixed)
    if not options:
        assert_close(unet_outputs(*mixed)[0], unfused)
    fused = weights_of(ours)
    changed = {key.partition(".")[0] for key in before if not np.array_equal(before[key], fused[key])}
    assert changed == set(options.get("components", COMPONENTS))
    ours.unfuse_lora()
    after = weights_of(ours)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert_close(unet_outputs(*mixed)[0], unfused)


def test_disable_enable_delete_and_unload(mixed, folder):
    ours, theirs = mixed
    with_adapters = unet_outputs(*mixed)[0].numpy()
    for change in ("disable_lora", "enable_lora"):
        for pipeline in mixed:
            getattr(pipeline, change)()
        assert_same(mixed)
        distance = np.abs(unet_outputs(*mixed)[0].numpy() - with_adapters).max()
        assert distance > 1e-2 if change == "disable_lora" else distance == 0
    assert set(ours.get_active_adapters()) == set(theirs.get_active_adapters()) == {"style", "detail"}
    for pipeline in mixed:
        pipeline.delete_adapters("style")
    assert ours.get_list_adapters() == theirs.get_list_adapters()
    assert_same(mixed)
    for pipeline in mixed:
        pipeline.unload_lora_weights()
    assert ours.get_list_adapters() == theirs.get_list_adapters() == {}
    assert_same(mixed)
    untouched = load_both(folder)[0]
    assert np.array_equal(unet_outputs(ours, theirs)[0].numpy(), unet_outputs(untouched, theirs)[0].numpy())


@pytest.mark.parametrize("name", ["StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"])
def test_scale_of_a_call_with_an_image(mixed, name):
    image = np.abs(noise((24, 40, 3), "image")).clip(0, 1)
    mask = np.zeros((24, 40), "float32")
    mask[:, 16:] = 1
    call = {**CALL, "image": PIL.Image.fromarray((image * 255).astype("uint8")), "strength": 0.9}
    if "Img2Img" in name:  # the size is that of the image
        del call["height"], call["width"]
    else:
        call["mask_image"] = PIL.Image.fromarray((mask * 255).astype("uint8"))
    others = [getattr(module, name).from_pipe(pipeline) for module, pipeline in zip((ppdiffusers, diffusers), mixed)]
    found = []
    for scale in (1.0, 0.35):
        mine, reference = call_both(*others, seed=3, **call, cross_attention_kwargs={"scale": scale})
        assert_images_agree(mine.images, reference.images)
        found.append(mine.images)
    assert np.abs(found[0] - found[1]).max() > 1e-2
