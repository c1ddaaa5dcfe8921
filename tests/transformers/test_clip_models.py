"""CLIP's encoders against transformers: outputs, hidden states, attention weights, masks, loading and saving."""

import numpy as np
import paddle
import pytest
import torch
import transformers

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention
from tests.support.parity import assert_close, noise, randomize

TEXT = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "projection_dim": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 20, "bos_token_id": 98, "eos_token_id": 99, "pad_token_id": 0,
    "layer_norm_eps": 1e-3,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "projection_dim": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 24, "patch_size": 8,
}  # fmt: skip


def twins(tmp_path, name, config, safe=True):
    reference = randomize(getattr(transformers, name)(config))
    reference.save_pretrained(tmp_path, safe_serialization=safe)
    return getattr(ours_lib, name).from_pretrained(tmp_path), reference


def ids(rows=3, columns=12):
    values = np.random.default_rng(0).integers(1, 98, (rows, columns))
    values[:, 0] = 98
    for row, end in zip(values, (5, 11, 8)):
        row[end:] = 99
    return values


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("eos", [2, 99])
@pytest.mark.parametrize("name", ["CLIPTextModel", "CLIPTextModelWithProjection"])
def test_text(tmp_path, name, eos, act):
    config = transformers.CLIPTextConfig(**{**TEXT, "eos_token_id": eos, "hidden_act": act})
    ours, reference = twins(tmp_path, name, config)
    values = ids()
    for mask in (None, (values != 99).astype(np.int64)):
        mine = ours(
            paddle.to_tensor(values),
            attention_mask=None if mask is None else paddle.to_tensor(mask),
            output_hidden_states=True,
            output_attentions=True,
        )
        theirs = reference(
            torch.from_numpy(values),
            attention_mask=None if mask is None else torch.from_numpy(mask),
            output_hidden_states=True,
        )
        assert list(mine.keys()) == [*theirs.keys(), "attentions"]
        for key in theirs:
            if key == "hidden_states":
                assert len(mine.hidden_states) == len(theirs.hidden_states) == 4
                for layer, (a, b) in enumerate(zip(mine.hidden_states, theirs.hidden_states)):
                    assert_close(a, b, 1e-5, f"hidden state {layer}")
            else:
                assert_close(mine[key], theirs[key], 1e-5, key)


def test_clip_skip(tmp_path):
    ours, reference = twins(tmp_path, "CLIPTextModel", transformers.CLIPTextConfig(**TEXT))
    values = ids()
    mine = ours(paddle.to_tensor(values), output_hidden_states=True)
    theirs = reference(torch.from_numpy(values), output_hidden_states=True)
    for skip in (1, 2):
        a = ours.text_model.final_layer_norm(mine[-1][-(skip + 1)])
        b = reference.text_model.final_layer_norm(theirs[-1][-(skip + 1)])
        assert_close(a, b, 1e-5)
    as_tuple = ours(paddle.to_tensor(values), return_dict=False)
    assert_close(as_tuple[0], theirs[0], 1e-5)
    assert len(as_tuple) == 2


@pytest.mark.parametrize("name", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_vision(tmp_path, name):
    ours, reference = twins(tmp_path, name, transformers.CLIPVisionConfig(**VISION))
    pixels = noise((2, 3, 24, 24))
    mine = ours(paddle.to_tensor(pixels), output_hidden_states=True)
    theirs = reference(torch.from_numpy(pixels), output_hidden_states=True)
    assert list(mine.keys()) == list(theirs.keys())
    for key in ("image_embeds", "last_hidden_state", "pooler_output"):
        if key in theirs:
            assert_close(mine[key], theirs[key], 1e-5, key)
    for a, b in zip(mine.hidden_states, theirs.hidden_states, strict=True):
        assert_close(a, b, 1e-5)
    with pytest.raises(InputError, match="24, 24"):
        ours(paddle.zeros([1, 3, 32, 32]))


def test_clip_model(tmp_path):
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
    ours, reference = twins(tmp_path, "CLIPModel", config)
    values, pixels = ids(), noise((2, 3, 24, 24))
    mine = ours(paddle.to_tensor(values), paddle.to_tensor(pixels))
    theirs = reference(torch.from_numpy(values), torch.from_numpy(pixels))
    for key in ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"):
        assert_close(mine[key], theirs[key], 1e-5, key)


ENCODERS = ["CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModel", "CLIPVisionModelWithProjection"]


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_from_folder_of_clip_model(tmp_path, name):
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
    randomize(transformers.CLIPModel(config)).save_pretrained(tmp_path)
    ours, theirs = (getattr(library, name).from_pretrained(tmp_path) for library in (ours_lib, transformers))
    values = ids() if "Text" in name else noise((2, 3, 24, 24))
    assert_close(ours(paddle.to_tensor(values))[0], theirs(torch.from_numpy(values))[0], 1e-5)


@pytest.mark.parametrize("name", ["CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModelWithProjection"])
def test_save_and_load_with_both_libraries(tmp_path, name):
    config = transformers.CLIPVisionConfig(**VISION) if "Vision" in name else transformers.CLIPTextConfig(**TEXT)
    ours, reference = twins(tmp_path / "torch", name, config, safe=False)
    ours.save_pretrained(tmp_path / "paddle")
    again = getattr(ours_lib, name).from_pretrained(tmp_path / "paddle")
    again.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = getattr(transformers, name).from_pretrained(tmp_path / "back")
    for key, value in reference.state_dict().items():
        assert torch.equal(value, back.state_dict()[key]), key
    expected = {**reference.config.to_dict()}
    found = back.config.to_dict()
    assert {k: found[k] for k in (VISION if "Vision" in name else TEXT)} == {
        k: expected[k] for k in (VISION if "Vision" in name else TEXT)
    }
    assert found["architectures"] == [name]


@pytest.mark.parametrize("name", ENCODERS)
def test_attention_weights(tmp_path, name):
    is_text = "Text" in name
    config = (transformers.CLIPTextConfig if is_text else transformers.CLIPVisionConfig)(
        **(TEXT if is_text else VISION), attn_implementation="eager"
    )
    ours, reference = twins(tmp_path, name, config)
    values = ids() if is_text else noise((2, 3, 24, 24))
    arguments = {"attention_mask": (values != 99).astype(np.int64)} if is_text else {}
    plain = ours(paddle.to_tensor(values), **{key: paddle.to_tensor(value) for key, value in arguments.items()})
    mine = ours(
        paddle.to_tensor(values),
        output_attentions=True,
        **{key: paddle.to_tensor(value) for key, value in arguments.items()},
    )
    theirs = reference(
        torch.from_numpy(values),
        output_attentions=True,
        **{key: torch.from_numpy(value) for key, value in arguments.items()},
    )
    assert "attentions" not in plain and list(mine.keys()) == list(theirs.keys())
    for a, b in zip(mine.attentions, theirs.attentions, strict=True):
        assert_close(a, b, 1e-5)
    assert_close(plain[0], mine[0], 1e-6, "result without attention weights")


def test_attention_weights_requested_by_the_configuration(tmp_path):
    ours, _ = twins(tmp_path, "CLIPTextModel", transformers.CLIPTextConfig(**TEXT))
    ours.config.output_attentions = True
    assert [list(weights.shape) for weights in ours(paddle.to_tensor(ids())).attentions] == [[3, 4, 12, 12]] * 3


@pytest.mark.parametrize("name", ENCODERS)
def test_attention_kernel(tmp_path, name, monkeypatch):
    """All layers call the kernel, unless attention weights are requested."""
    calls = []

    def count(query, *args, **kwargs):
        calls.append(query.shape)
        return scaled_dot_product_attention(query, *args, **kwargs)

    monkeypatch.setattr("ppdiffusers.transformers.layers.scaled_dot_product_attention", count)
    is_text = "Text" in name
    config = transformers.CLIPTextConfig(**TEXT) if is_text else transformers.CLIPVisionConfig(**VISION)
    ours, _ = twins(tmp_path, name, config)
    values = paddle.to_tensor(ids() if is_text else noise((2, 3, 24, 24)))
    ours(values, output_attentions=True)
    assert not calls
    ours(values)
    assert calls == ([[3, 4, 12, 8]] * 3 if is_text else [[2, 4, 10, 8]] * 2)


def test_keys_without_prefix(tmp_path):
    """transformers 5 saves the text encoder without the prefix `text_model.`."""
    from safetensors.torch import load_file, save_file

    ours, _ = twins(tmp_path, "CLIPTextModel", transformers.CLIPTextConfig(**TEXT))
    path = tmp_path / "model.safetensors"
    without_prefix = {key.removeprefix("text_model."): value for key, value in load_file(path).items()}
    save_file(without_prefix, path, metadata={"format": "pt"})
    again = ours_lib.CLIPTextModel.from_pretrained(tmp_path)
    values = paddle.to_tensor(ids())
    assert np.array_equal(again(values)[0].numpy(), ours(values)[0].numpy())


def test_bad_inputs(tmp_path):
    ours, _ = twins(tmp_path, "CLIPTextModel", transformers.CLIPTextConfig(**TEXT))
    with pytest.raises(InputError, match="at most 20 tokens"):
        ours(paddle.zeros([1, 21], dtype="int64"))
    with pytest.raises(InputError, match="input_ids is None"):
        ours()


@pytest.mark.parametrize("count", [30, 70, None])
def test_resized_token_embeddings(tmp_path, count):
    config = transformers.CLIPTextConfig(vocab_size=50, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
                                         num_attention_heads=2, eos_token_id=49)  # fmt: skip
    ours, theirs = twins(tmp_path, "CLIPTextModel", config)
    theirs.resize_token_embeddings(count)
    resized = ours.resize_token_embeddings(count)
    expected = theirs.get_input_embeddings().weight.detach().numpy()
    rows = min(count or 50, 50)
    assert resized is ours.get_input_embeddings() and resized.weight.shape == list(expected.shape)
    assert ours.config.vocab_size == theirs.config.vocab_size == (count or 50)
    np.testing.assert_array_equal(resized.weight[:rows].numpy(), expected[:rows])
    tokens = np.arange(2 * 12).reshape(2, 12)  # [2, 12], ids that all sizes have
    with torch.no_grad():
        assert_close(ours(paddle.to_tensor(tokens))[0], theirs(torch.from_numpy(tokens))[0], 1e-4)
    ours.save_pretrained(tmp_path / "saved")
    assert type(ours).from_pretrained(tmp_path / "saved").get_input_embeddings().weight.shape == list(expected.shape)


def test_gradient_checkpointing_of_encoders_is_accepted_with_a_warning(tmp_path, caplog):
    config = transformers.CLIPTextConfig(vocab_size=50, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
                                         num_attention_heads=2)  # fmt: skip
    ours, _ = twins(tmp_path, "CLIPTextModel", config)
    ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert "CLIPTextModel has no gradient checkpointing" in caplog.text
    ours.gradient_checkpointing_disable()
