"""Attention, its processors and `cross_attention_kwargs` against diffusers."""

import logging

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.models import attention_processor as reference

import ppdiffusers
from ppdiffusers import AutoencoderKL, Transformer2DModel, UNet2DConditionModel
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.adapters import create_lora, inject, set_adapters
from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.attention.processors import (
    AttnAddedKVProcessor,
    AttnAddedKVProcessor2_0,
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnAddedKVProcessor,
    SlicedAttnProcessor,
)
from ppdiffusers.runtime.compiling import CompiledMethod, compile
from tests.models.support import both, twins
from tests.models.test_unet_2d_condition import SD1, K
from tests.runtime.support import program_cache, tiny_unet, unet_inputs  # noqa: F401  a fixture
from tests.support.parity import assert_close, noise, randomize

SIMPLE_CROSS_ATTENTION = {
    **SD1,
    "block_out_channels": (32, 64),
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "cross_attention_norm": "group_norm",
}
UNETS = {"SD 1": SD1, "IF": SIMPLE_CROSS_ATTENTION, "k-diffusion": K}


# -- one layer --------------------------------------------------------------------------------------------------

TOKENS, IMAGE, CONTEXT = (2, 12, 24), (2, 24, 3, 4), (2, 7, 20)
ADDED = {"added_kv_proj_dim": 32, "cross_attention_dim": 24, "norm_num_groups": 8, "bias": True}
LAYERS = {
    "self": ({}, TOKENS, None),
    "bias": ({"bias": True, "out_bias": False}, TOKENS, None),
    "cross": ({"cross_attention_dim": 20}, TOKENS, CONTEXT),
    "upcast": ({"cross_attention_dim": 20, "upcast_attention": True, "upcast_softmax": True}, TOKENS, CONTEXT),
    "unscaled": ({"scale_qk": False}, TOKENS, None),
    "image": (
        {"norm_num_groups": 8, "bias": True, "residual_connection": True, "rescale_output_factor": 1.5},
        IMAGE,
        None,
    ),
    "group norm over tokens": ({"norm_num_groups": 8, "residual_connection": True}, TOKENS, None),
    "layer norm of the context": ({"cross_attention_dim": 20, "cross_attention_norm": "layer_norm"}, TOKENS, CONTEXT),
    "group norm of the context": (
        {"cross_attention_dim": 64, "cross_attention_norm": "group_norm"},
        TOKENS,
        (2, 7, 64),
    ),
    "added keys": (ADDED, IMAGE, (2, 7, 32)),
    "added keys, normed": ({**ADDED, "cross_attention_norm": "group_norm"}, IMAGE, (2, 7, 32)),
    "added keys only": ({**ADDED, "only_cross_attention": True}, IMAGE, (2, 7, 32)),
}


def layers(settings: dict) -> tuple[Attention, reference.Attention]:
    """Our layer and diffusers' with the same random weights."""
    settings = {"heads": 3, "dim_head": 8, **settings}
    processor = {"processor": reference.AttnAddedKVProcessor2_0()} if "added_kv_proj_dim" in settings else {}
    theirs = randomize(reference.Attention(24, **settings, **processor))
    ours = Attention(24, **settings)
    linear = {f"{name}.weight" for name, module in theirs.named_modules() if isinstance(module, torch.nn.Linear)}
    state = {key: value.numpy().T if key in linear else value.numpy() for key, value in theirs.state_dict().items()}
    assert set(state) == set(ours.state_dict())
    ours.set_state_dict({key: paddle.to_tensor(value) for key, value in state.items()})
    ours.eval()
    return ours, theirs


# with `only_cross_attention`, diffusers pads the mask beyond the keys and fails
@pytest.mark.parametrize(
    ("name", "masked"),
    [(name, masked) for name in LAYERS for masked in (False, True)[: 1 + (name != "added keys only")]],
)
def test_layer(name, masked):
    settings, shape, context_shape = LAYERS[name]
    ours, theirs = layers(settings)
    x, tx = both(noise(shape))
    context, tcontext = both(noise(context_shape, "context")) if context_shape else (None, None)
    mask, tmask = both(noise((2, 1, 7 if context_shape else 12), "mask")) if masked else (None, None)
    with torch.no_grad():
        expected = theirs(tx, tcontext, tmask)
    assert_close(ours(x, context, mask), expected)
    for slice_size in (1, 2, 3, None):
        ours.set_attention_slice(slice_size)
        assert_close(ours(x, context, mask), expected, what=f"slices of {slice_size}")
    added = "added_kv_proj_dim" in settings
    classes = [AttnAddedKVProcessor, AttnAddedKVProcessor2_0] if added else [AttnProcessor, AttnProcessor2_0]
    sliced = SlicedAttnAddedKVProcessor if added else SlicedAttnProcessor
    for processor in (*(cls() for cls in classes), sliced(1), sliced(4)):
        ours.set_processor(processor)
        assert_close(ours(x, context, mask), expected, what=type(processor).__name__)


@pytest.mark.parametrize("name", ["self", "cross", "upcast", "unscaled"])
def test_helpers_of_processors(name):
    settings, shape, context_shape = LAYERS[name]
    ours, theirs = layers(settings)
    (x, tx), (mask, tmask) = both(noise((2, 12, 24))), both(noise((2, 1, 12), "mask"))
    for out_dim in (3, 4):
        assert_close(ours.head_to_batch_dim(x, out_dim), theirs.head_to_batch_dim(tx, out_dim))
        for length in (12, 5):
            assert_close(
                ours.prepare_attention_mask(mask, length, 2, out_dim),
                theirs.prepare_attention_mask(tmask, length, 2, out_dim),
            )
    assert ours.prepare_attention_mask(None, 12, 2) is None
    folded, tfolded = ours.head_to_batch_dim(x), theirs.head_to_batch_dim(tx)
    assert_close(ours.head_to_batch_dim(x.unsqueeze(1)), tfolded)
    assert_close(ours.batch_to_head_dim(folded), tx)
    for m, tm in ((None, None), (mask, tmask)):
        m, tm = ours.prepare_attention_mask(m, 12, 2), theirs.prepare_attention_mask(tm, 12, 2)
        assert_close(ours.get_attention_scores(folded, folded, m), theirs.get_attention_scores(tfolded, tfolded, tm))
    for attribute in ("heads", "scale", "inner_dim", "query_dim", "cross_attention_dim", "is_cross_attention",
                      "upcast_attention", "upcast_softmax", "residual_connection", "rescale_output_factor",
                      "sliceable_head_dim", "added_kv_proj_dim", "only_cross_attention", "out_dim", "scale_qk",
                      "spatial_norm", "group_norm", "norm_cross", "norm_q", "norm_k"):  # fmt: skip
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute


def test_mask_with_the_heads_folded_into_the_batch():
    ours, theirs = layers(LAYERS["cross"][0])
    (x, tx), (context, tcontext) = both(noise(TOKENS)), both(noise(CONTEXT, "context"))
    mask, tmask = both(noise((6, 12, 7), "mask"))
    with torch.no_grad():
        assert_close(ours(x, context, mask), theirs(tx, tcontext, tmask))


def test_settings_that_cannot_be_built():
    with pytest.raises(ConfigError, match="cross_attention_norm 'batch_norm'"):
        Attention(8, cross_attention_norm="batch_norm")
    with pytest.raises(ConfigError, match="needs added_kv_proj_dim"):
        Attention(8, only_cross_attention=True)
    for size in (0, 9, "half"):
        with pytest.raises(InputError, match="from 1 to 8"):
            Attention(8, heads=8, dim_head=1).set_attention_slice(size)


# -- custom processors ------------------------------------------------------------------------------------------


class ClassicProcessor:
    """As diffusers' tutorials write processors: `baddbmm`, softmax, `bmm`."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        batch, tokens, _ = (hidden_states if encoder_hidden_states is None else encoder_hidden_states).shape
        attention_mask = attn.prepare_attention_mask(attention_mask, tokens, batch)
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross is not None:
            context = attn.norm_encoder_hidden_states(context)
        key, value = attn.head_to_batch_dim(attn.to_k(context)), attn.head_to_batch_dim(attn.to_v(context))
        zeros = paddle.zeros([query.shape[0], query.shape[1], key.shape[1]])
        scores = paddle.baddbmm(
            zeros if attention_mask is None else attention_mask.expand_as(zeros),
            query,
            key.transpose([0, 2, 1]),
            alpha=attn.scale,
        )
        mixed = attn.batch_to_head_dim(paddle.bmm(paddle.nn.functional.softmax(scores, axis=-1), value))
        return attn.to_out[1](attn.to_out[0](mixed))


class RecordingProcessor:
    """As prompt-to-prompt: record the maps of cross-attention. Works with the layers of both frameworks."""

    def __init__(self, maps, name):
        self.maps, self.name = maps, name

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, edit=None):
        batch, tokens, _ = (hidden_states if encoder_hidden_states is None else encoder_hidden_states).shape
        attention_mask = attn.prepare_attention_mask(attention_mask, tokens, batch)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(x) for x in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        probabilities = attn.get_attention_scores(query, key, attention_mask)
        if edit is not None:
            probabilities = edit(probabilities)
        if encoder_hidden_states is not None:
            self.maps[self.name] = probabilities
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(probabilities @ value)))


def unets(tmp_path, config: dict):
    ours, theirs = twins(tmp_path, diffusers.UNet2DConditionModel(**config))
    width = config["cross_attention_dim"]
    inputs = [noise((2, 4, 16, 16)), np.array([5, 5]), noise((2, 5, width), "prompt")]
    if config is K:
        inputs[1] = np.array([0.3, 0.3], dtype=np.float32)
    pairs = [both(array) for array in inputs]
    return ours, theirs, [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def test_classic_processor(tmp_path):
    ours, theirs, inputs, their_inputs = unets(tmp_path, SD1)
    mask, tmask = both(np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 1]]))
    ours.set_attn_processor(ClassicProcessor())
    with torch.no_grad():
        expected = theirs(*their_inputs, encoder_attention_mask=tmask).sample
    assert_close(ours(*inputs, encoder_attention_mask=mask).sample, expected)
    assert ours.has_custom_attn_processors
    ours.set_default_attn_processor()
    assert not ours.has_custom_attn_processors
    assert_close(ours(*inputs, encoder_attention_mask=mask).sample, expected)


def test_attention_maps_are_those_of_diffusers(tmp_path):
    ours, theirs, inputs, their_inputs = unets(tmp_path, SD1)
    maps, their_maps = {}, {}
    for network, recorded in ((ours, maps), (theirs, their_maps)):
        network.set_attn_processor({name: RecordingProcessor(recorded, name) for name in network.attn_processors})
    with torch.no_grad():
        assert_close(ours(*inputs).sample, theirs(*their_inputs).sample)
    assert set(maps) == set(their_maps) and all("attn2" in name for name in maps)
    for name, found in maps.items():
        assert_close(found, their_maps[name], what=name)
    halve = {"edit": lambda probabilities: probabilities * 0.5}
    with torch.no_grad():
        edited = theirs(*their_inputs, cross_attention_kwargs=halve).sample
    assert_close(ours(*inputs, cross_attention_kwargs=halve).sample, edited)


@pytest.mark.parametrize("name", UNETS)
def test_names_and_classes_of_processors(name):
    ours = UNet2DConditionModel(**UNETS[name]).attn_processors
    theirs = diffusers.UNet2DConditionModel(**UNETS[name]).attn_processors
    assert {key: type(value).__name__ for key, value in ours.items()} == {
        key: type(value).__name__ for key, value in theirs.items()
    }


def test_processors_of_autoencoders_and_transformers():
    config = {"block_out_channels": (8,), "norm_num_groups": 4}
    names = set(AutoencoderKL(**config).attn_processors)
    assert names == set(diffusers.AutoencoderKL(**config).attn_processors) and len(names) == 2
    transformer = Transformer2DModel(num_attention_heads=1, attention_head_dim=8, in_channels=32, cross_attention_dim=8)
    assert set(transformer.attn_processors) == {f"transformer_blocks.0.attn{n}.processor" for n in (1, 2)}


def test_dict_of_processors():
    network = UNet2DConditionModel(**SD1)
    name, *others = network.attn_processors
    processors = {**network.attn_processors, name: ClassicProcessor()}
    given = dict(processors)
    network.set_attn_processor(processors)
    assert processors == given
    assert isinstance(network.attn_processors[name], ClassicProcessor)
    assert all(isinstance(network.attn_processors[other], AttnProcessor2_0) for other in others)
    with pytest.raises(InputError, match="number of processors 1 does not match the number of layers") as error:
        network.set_attn_processor({"strange": ClassicProcessor()})
    assert "unknown name 'strange'" in str(error.value) and f"no processor for {name!r}" in str(error.value)
    assert isinstance(network.attn_processors[name], ClassicProcessor)


class ScaledProcessor(paddle.nn.Layer):
    """A processor with a parameter."""

    def __init__(self):
        super().__init__()
        self.gain = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(2.0))
        self.default = AttnProcessor()

    def forward(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, shift=0.0):
        return self.default(attn, hidden_states, encoder_hidden_states, attention_mask) * self.gain + shift


def test_processor_with_parameters():
    layer, x = Attention(24, heads=3, dim_head=8), paddle.to_tensor(noise(TOKENS))
    keys, plain = set(layer.state_dict()), layer(x)
    layer.set_processor(ScaledProcessor())
    assert set(layer.state_dict()) == {*keys, "processor.gain"}
    assert_close(layer(x), plain * 2)
    assert_close(layer(x, shift=1.0), plain * 2 + 1)
    layer.set_processor(ScaledProcessor())
    layer.set_processor(AttnProcessor())
    assert set(layer.state_dict()) == keys
    assert_close(layer(x), plain)


def test_function_as_processor():
    layer, x = Attention(24, heads=3, dim_head=8), paddle.to_tensor(noise(TOKENS))

    def negate(attn, hidden_states, encoder_hidden_states=None, attention_mask=None, factor=1.0):
        return -hidden_states * factor

    layer.set_processor(negate)
    assert_close(layer(x, factor=3.0), -3 * x.numpy())


def test_custom_processors_run_in_eager_mode(program_cache, monkeypatch):  # noqa: F811
    """A program would record attention maps once, while it is traced."""
    network = compile(tiny_unet(), backend="onednn")
    with paddle.no_grad():
        expected = network(*unet_inputs()).sample
        maps = {}
        network.set_attn_processor({name: RecordingProcessor(maps, name) for name in network.attn_processors})
        assert_close(network(*unet_inputs()).sample, expected)
        assert maps and all(isinstance(found, paddle.Tensor) for found in maps.values())
        network.set_default_attn_processor()
        monkeypatch.setattr(CompiledMethod, "eager", None)
        assert_close(network(*unet_inputs()).sample, expected)


# -- cross_attention_kwargs -------------------------------------------------------------------------------------


class _Messages(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.add(record.getMessage())


@pytest.fixture
def messages():
    """The sets of messages that we log and that diffusers logs."""
    handlers = {name: _Messages() for name in ("ppdiffusers", "diffusers")}
    for name, handler in handlers.items():
        logging.getLogger(name).addHandler(handler)
    yield handlers["ppdiffusers"].messages, handlers["diffusers"].messages
    for name, handler in handlers.items():
        logging.getLogger(name).removeHandler(handler)


@pytest.mark.parametrize("name", UNETS)
def test_kwargs_reach_every_cross_attention(tmp_path, name):
    ours, theirs, inputs, their_inputs = unets(tmp_path, UNETS[name])

    def seen_by(network) -> set[str]:
        seen = set()

        class Recorder:
            def __init__(self, name, default):
                self.name, self.default = name, default

            def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, mark=None):
                if mark == "here":
                    seen.add(self.name)
                return self.default(attn, hidden_states, encoder_hidden_states, attention_mask)

        network.set_attn_processor({key: Recorder(key, value) for key, value in network.attn_processors.items()})
        return seen

    seen, their_seen = seen_by(ours), seen_by(theirs)
    with torch.no_grad():
        expected = theirs(*their_inputs, cross_attention_kwargs={"mark": "here"}).sample
    assert_close(ours(*inputs, cross_attention_kwargs={"mark": "here"}).sample, expected)
    assert seen == their_seen and seen


@pytest.mark.parametrize("name", UNETS)
def test_unknown_kwargs_are_ignored_with_the_same_warnings(tmp_path, messages, name):
    ours, theirs, inputs, their_inputs = unets(tmp_path, UNETS[name])
    kwargs = {"strange": 1, "ip_adapter_masks": None, "scale": 0.5}
    with torch.no_grad():
        expected = theirs(*their_inputs, cross_attention_kwargs=kwargs).sample
    assert_close(ours(*inputs, cross_attention_kwargs=kwargs).sample, expected)
    assert kwargs == {"strange": 1, "ip_adapter_masks": None, "scale": 0.5}
    warnings, their_warnings = messages
    assert warnings == {message for message in their_warnings if "cross_attention_kwargs" in message} and warnings


def test_scale_inside_a_network_is_ignored_with_the_same_warnings(tmp_path, messages):
    config = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 32, "cross_attention_dim": 20}
    ours, theirs = twins(tmp_path, diffusers.Transformer2DModel(**config))
    (x, tx), (prompt, tprompt) = both(noise((2, 32, 4, 4))), both(noise((2, 5, 20), "prompt"))
    with torch.no_grad():
        expected = theirs(tx, tprompt, cross_attention_kwargs={"scale": 0.3}).sample
    assert_close(ours(x, prompt, cross_attention_kwargs={"scale": 0.3}).sample, expected)
    warnings, their_warnings = messages
    assert warnings == {message for message in their_warnings if "cross_attention_kwargs" in message}
    assert len(warnings) == 2


def test_scale_of_adapters():
    network, inputs = tiny_unet(), unet_inputs()
    deltas = create_lora(network, ["to_q", "to_v", "proj_in"], rank=2)
    for name, delta in deltas.items():
        delta.up.set_value(noise(tuple(delta.up.shape), name))
    plain = network(*inputs).sample
    inject(network, "style", deltas)
    full = network(*inputs).sample
    assert np.abs((full - plain).numpy()).max() > 1e-2
    assert_close(network(*inputs, cross_attention_kwargs={"scale": 0.0}).sample, plain, 1e-6)
    assert_close(network(*inputs, cross_attention_kwargs={"scale": 1.0}).sample, full, 1e-6)
    halved = network(*inputs, cross_attention_kwargs={"scale": 0.5}).sample
    set_adapters(network, "style", 0.5)
    assert_close(network(*inputs).sample, halved, 1e-6)


def test_gligen_needs_a_network_with_its_layers():
    network = UNet2DConditionModel(**SD1)
    with pytest.raises(InputError, match="no GLIGEN layers"):
        network(
            paddle.zeros([1, 4, 8, 8]), 1, paddle.zeros([1, 5, 24]), cross_attention_kwargs={"gligen": {"boxes": None}}
        )


def test_list_of_slice_sizes(tmp_path):
    ours, theirs, inputs, their_inputs = unets(tmp_path, SD1)
    count = len(ours.attn_processors)
    ours.set_attention_slice([1, None] * (count // 2))
    with torch.no_grad():
        assert_close(ours(*inputs).sample, theirs(*their_inputs).sample)
    with pytest.raises(InputError, match=f"3 entries for {count}"):
        ours.set_attention_slice([1, 1, 1])


# -- fused projections ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SD 1", "k-diffusion"])
def test_fused_projections_of_a_unet(tmp_path, name):
    ours, theirs = twins(tmp_path, diffusers.UNet2DConditionModel(**UNETS[name]))
    x, tx = both(noise((2, 4, 16, 24)))
    context, tcontext = both(noise((2, 5, 24), "context"))
    before, keys, processors = ours(x, 3, context).sample, list(ours.state_dict()), ours.attn_processors
    theirs.fuse_qkv_projections()
    ours.fuse_qkv_projections()
    with torch.no_grad():
        assert_close(ours(x, 3, context).sample, theirs(tx, 3, tcontext).sample)
    assert list(ours.state_dict()) == keys
    assert {type(processor).__name__ for processor in ours.attn_processors.values()} == {"FusedAttnProcessor2_0"}
    ours.unfuse_qkv_projections()
    assert ours.attn_processors == processors and not any("fused" in key for key, _ in ours.named_buffers())
    assert np.array_equal(ours(x, 3, context).sample, before)


def test_fused_projections_of_a_vae(tmp_path):
    config = {"block_out_channels": (16, 32), "norm_num_groups": 4, "latent_channels": 4}
    config |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    ours, theirs = twins(tmp_path, diffusers.AutoencoderKL(**config))
    z, tz = both(noise((1, 4, 6, 8)))
    ours.fuse_qkv_projections()
    theirs.fuse_qkv_projections()
    with torch.no_grad():
        assert_close(ours.decode(z).sample, theirs.decode(tz).sample)
    attention = ours.decoder.mid_block.attentions[0]
    expected = ours.decode(z).sample
    with paddle.no_grad():
        attention.to_q.weight.zero_()  # the fused copy is used
    assert np.array_equal(ours.decode(z).sample, expected)
    ours.fuse_qkv_projections()  # again, after a change
    assert not np.array_equal(ours.decode(z).sample, expected)


def test_fused_layers_with_adapters_use_them(tmp_path):
    ours, _ = twins(tmp_path, diffusers.UNet2DConditionModel(**SD1))
    arguments = (both(noise((1, 4, 16, 16)))[0], 3, both(noise((1, 5, 24), "context"))[0])
    inject(ours, "style", create_lora(ours, rank=2, targets=("to_q", "to_k", "to_v")))
    adapted = ours(*arguments).sample
    ours.fuse_qkv_projections()
    assert_close(ours(*arguments).sample, adapted.numpy())


def test_layers_with_added_keys_cannot_be_fused(tmp_path):
    ours, _ = twins(tmp_path, diffusers.UNet2DConditionModel(**SIMPLE_CROSS_ATTENTION))
    with pytest.raises(InputError, match="cannot be fused"):
        ours.fuse_qkv_projections()


def test_xformers_is_accepted_and_not_needed(caplog):
    caplog.set_level(logging.INFO)
    unet = tiny_unet()
    processors = unet.attn_processors
    unet.enable_xformers_memory_efficient_attention()
    unet.disable_xformers_memory_efficient_attention()
    assert unet.attn_processors == processors and caplog.text.count("xFormers") == 1


def test_gradient_checkpointing_is_announced_as_in_diffusers():
    for name in ("UNet2DConditionModel", "UNet2DModel", "UNet1DModel", "AutoencoderKL", "VQModel", "ControlNetModel"):
        ours, theirs = getattr(ppdiffusers, name), getattr(diffusers, name)
        assert ours._supports_gradient_checkpointing == theirs._supports_gradient_checkpointing, name
