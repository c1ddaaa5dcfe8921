"""LyCORIS files against its formulas in torch, which change the weights of diffusers' UNet."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.runtime.compiling import compile
from tests.pipelines.support import load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.parity import assert_close, noise, rng_for

LINEAR = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"  # [64, 32]
CONV = "down_blocks.1.resnets.0.conv1"  # [64, 32, 3, 3]
PROJECTION = "mid_block.attentions.0.proj_in"  # [64, 64, 1, 1]
TEXT = "text_model.encoder.layers.1.mlp.fc1"  # [48, 32]


def draw(*shape):
    return torch.from_numpy(0.3 * rng_for(str(shape)).standard_normal(shape).astype(np.float32))


def tucker(core, a, b):
    return torch.einsum("ij...,ip,jr->pr...", core, a, b)


def loha(out, inputs, kernel=(), alpha=2.0):
    size = int(np.prod([inputs, *kernel]))
    names = {"hada_w1_a": draw(out, 4), "hada_w1_b": draw(4, size), "hada_w2_a": draw(out, 4) + 0.3}
    names["hada_w2_b"] = draw(4, size) - 0.2
    first, second = (names[f"hada_w{n}_a"] @ names[f"hada_w{n}_b"] for n in (1, 2))
    return {**names, "alpha": torch.tensor(alpha)}, first * second * alpha / 4


def loha_tucker(out, inputs, kernel, alpha=3.0):
    names = {"hada_w1_a": draw(4, out), "hada_w1_b": draw(4, inputs), "hada_t1": draw(4, 4, *kernel)}
    names |= {"hada_w2_a": draw(4, out) + 0.3, "hada_w2_b": draw(4, inputs) - 0.2, "hada_t2": draw(4, 4, *kernel) + 0.1}
    factors = [tucker(names[f"hada_t{n}"], names[f"hada_w{n}_a"], names[f"hada_w{n}_b"]) for n in (1, 2)]
    return {**names, "alpha": torch.tensor(alpha)}, factors[0] * factors[1] * alpha / 4


def lokr(out, inputs, kernel=()):
    """Two whole factors: alpha has no effect."""
    names = {"lokr_w1": draw(4, 8), "lokr_w2": draw(out // 4, inputs // 8, *kernel)}
    first = names["lokr_w1"].reshape(4, 8, *(1 for _ in kernel))
    return {**names, "alpha": torch.tensor(7.0)}, torch.kron(first, names["lokr_w2"])


def lokr_factors(out, inputs, kernel=(), alpha=1.5):
    names = {"lokr_w1_a": draw(4, 3), "lokr_w1_b": draw(3, 8), "lokr_w2_a": draw(out // 4, 3)}
    names["lokr_w2_b"] = draw(3, int(np.prod([inputs // 8, *kernel])))
    first, second = (names[f"lokr_w{n}_a"] @ names[f"lokr_w{n}_b"] for n in (1, 2))
    second = second.reshape(out // 4, inputs // 8, *kernel)
    product = torch.kron(first.reshape(4, 8, *(1 for _ in kernel)), second)
    return {**names, "alpha": torch.tensor(alpha)}, product * alpha / 3


def lokr_tucker(out, inputs, kernel, alpha=1.5):
    names = {"lokr_w1": draw(4, 8), "lokr_w2_a": draw(3, out // 4), "lokr_w2_b": draw(3, inputs // 8)}
    names["lokr_t2"] = draw(3, 3, *kernel)
    second = tucker(names["lokr_t2"], names["lokr_w2_a"], names["lokr_w2_b"])
    return {**names, "alpha": torch.tensor(alpha)}, torch.kron(names["lokr_w1"][..., None, None], second) * alpha / 3


def full(out, inputs, kernel=()):
    difference = draw(out, inputs, *kernel)
    return {"diff": difference}, difference


def locon_tucker(out, inputs, kernel, alpha=2.0):
    """Kohya's `lora_mid`: a 1x1 convolution, one with the kernel, and a 1x1 convolution."""
    down, mid, up = draw(3, inputs, 1, 1), draw(3, 3, *kernel), draw(out, 3, 1, 1)
    weight = torch.einsum("oa,abij,bc->ocij", up[:, :, 0, 0], mid, down[:, :, 0, 0])
    names = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(alpha)}
    return names, weight * alpha / 3


def projection(out, inputs, kernel=(), alpha=1.0):
    """Matrices for a 1x1 convolution."""
    down, up = draw(3, inputs), draw(out, 3)
    names = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(alpha)}
    return names, up @ down * alpha / 3


CASES = [
    *[(kind, path) for kind in (loha, lokr, lokr_factors, full) for path in (LINEAR, CONV)],
    *[(kind, CONV) for kind in (loha_tucker, lokr_tucker, locon_tucker)],
    *[(kind, PROJECTION) for kind in (projection, loha, lokr_factors)],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture
def pair(loaded):
    yield loaded
    loaded[0].unload_lora_weights()


def outputs(ours, theirs):
    sample, embeds = noise((2, 4, 12, 20)), noise((2, 77, 32), "embeds")
    with torch.no_grad(), paddle.no_grad():
        reference = theirs.unet(torch.from_numpy(sample), 7, torch.from_numpy(embeds)).sample
        return ours.unet(paddle.to_tensor(sample), 7, paddle.to_tensor(embeds)).sample, reference


def file_for(kind, unet, path):
    """(tensors of the file, change of the weight) for one layer of the UNet."""
    weight = unet.get_submodule(path).weight
    names, change = kind(*weight.shape[:2], tuple(weight.shape[2:]))
    return {f"lora_unet_{path.replace('.', '_')}.{name}": t for name, t in names.items()}, change.reshape(weight.shape)


@pytest.mark.parametrize(("kind", "path"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_formulas(pair, kind, path):
    ours, theirs = pair
    tensors, change = file_for(kind, theirs.unet, path)
    ours.load_lora_weights(tensors)
    ours.set_adapters("default_0", 0.7)
    weight = theirs.unet.get_submodule(path).weight.data
    before = weight.clone()
    unchanged = outputs(ours, theirs)
    assert np.abs(unchanged[0].numpy() - unchanged[1].numpy()).max() > 1e-3, "the adapter has an effect"
    weight += 0.7 * change
    try:
        assert_close(*outputs(ours, theirs))
        eager = outputs(ours, theirs)[0]
        ours.fuse_lora()
        assert_close(outputs(ours, theirs)[0], eager)
        ours.unfuse_lora()
    finally:
        weight.copy_(before)
    ours.unload_lora_weights()
    assert_close(*outputs(ours, theirs))


def test_text_encoder(pair):
    ours, theirs = pair
    layer = theirs.text_encoder.get_submodule(TEXT)
    names, change = lokr_factors(*layer.weight.shape)
    ours.load_lora_weights({f"lora_te_{TEXT.replace('.', '_')}.{name}": t for name, t in names.items()})
    before = layer.weight.data.clone()
    layer.weight.data += change
    try:
        embeds = [pipeline.encode_prompt("a red circle", "cpu", 1, False)[0] for pipeline in (ours, theirs)]
    finally:
        layer.weight.data.copy_(before)
    assert_close(*embeds)


@pytest.mark.parametrize("backend", ["openvino", "onednn"])
def test_compiled(folder, backend, tmp_path, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path))
    ours, theirs = load_both(folder)
    kinds = {LINEAR: loha, CONV: lokr_tucker, PROJECTION: lokr_factors, "up_blocks.0.resnets.0.conv2": loha_tucker}
    tensors = {}
    for path, kind in kinds.items():
        some, change = file_for(kind, theirs.unet, path)
        tensors |= some
        theirs.unet.get_submodule(path).weight.data += 0.4 * change
    ours.load_lora_weights(tensors)
    compile(ours.unet, backend=backend)
    outputs(ours, theirs)
    ours.set_adapters("default_0", 0.4)
    assert_close(*outputs(ours, theirs))


def test_errors(pair):
    ours, theirs = pair
    tensors, _ = file_for(loha, theirs.unet, LINEAR)
    key = next(key for key in tensors if key.endswith("hada_w2_b"))
    with pytest.raises(WeightsError, match=f"unet.{LINEAR}: the tensors hada_w1_a"):
        ours.load_lora_weights({name: tensor for name, tensor in tensors.items() if name != key})
    with pytest.raises(InputError, match=f"{LINEAR}: the shapes of its tensors do not fit"):
        ours.load_lora_weights({**tensors, key: tensors[key][:2]})
    other, _ = file_for(full, theirs.unet, CONV)
    with pytest.raises(InputError, match=f"{LINEAR}: Full changes a weight .64, 32, 3, 3., expected .64, 32."):
        ours.load_lora_weights({next(iter(tensors)).replace("hada_w1_a", "diff"): next(iter(other.values()))})
    assert ours.get_list_adapters() == {}
