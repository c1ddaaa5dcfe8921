"""T5's and mT5's encoders against transformers': outputs, masks, precision, loading, saving."""

import json

import numpy as np
import paddle
import pytest
import torch
import transformers
from safetensors.torch import load_file

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError, InputError, WeightsError
from ppdiffusers.transformers.t5.modeling import clip_infinite, relative_position_buckets
from tests.support.parity import assert_close, randomize
from tests.support.t5 import SETTINGS, tiny_t5


def ids(length=31):
    """Return ids and mask of three texts of different lengths."""
    values = np.random.default_rng(0).integers(2, 520, (3, length))
    for row, end in zip(values, (5, length, 18), strict=True):
        row[end - 1] = 1
        row[end:] = 0
    return values, (values != 0).astype(np.int64)


def compare(ours, reference, tolerance=1e-5):
    """Compare all outputs, with and without a mask."""
    values, mask = ids()
    for attention_mask in (None, mask):
        requested = {"output_hidden_states": True, "output_attentions": True}
        mine = ours(
            paddle.to_tensor(values),
            None if attention_mask is None else paddle.to_tensor(attention_mask),
            **requested,
        )
        with torch.no_grad():
            theirs = reference(
                torch.from_numpy(values),
                attention_mask=None if attention_mask is None else torch.from_numpy(attention_mask),
                **requested,
            )
        assert list(mine.keys()) == list(theirs.keys())
        assert_close(mine.last_hidden_state, theirs.last_hidden_state, tolerance)
        for name in ("hidden_states", "attentions"):
            for a, b in zip(mine[name], theirs[name], strict=True):
                assert_close(a, b, tolerance, name)
        fused = ours(paddle.to_tensor(values), None if attention_mask is None else paddle.to_tensor(attention_mask))
        assert_close(fused.last_hidden_state, theirs.last_hidden_state, tolerance)


@pytest.mark.parametrize("feed_forward_proj", ["gated-gelu", "relu", "gated-silu"])
def test_t5(tmp_path, feed_forward_proj):
    reference = tiny_t5(feed_forward_proj=feed_forward_proj)
    reference.save_pretrained(tmp_path)
    compare(ours_lib.T5EncoderModel.from_pretrained(tmp_path), reference)


@pytest.mark.parametrize("name", ["T5EncoderModel", "MT5EncoderModel"])
def test_mt5(tmp_path, name):
    """Both classes load mT5; its type and its defaults are kept."""
    settings = {key: value for key, value in SETTINGS.items() if key != "feed_forward_proj"}
    reference = randomize(transformers.MT5EncoderModel(transformers.MT5Config(**settings)))
    reference.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    for key in ("feed_forward_proj", "dense_act_fn", "is_gated_act"):
        del config[key]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    ours = getattr(ours_lib, name).from_pretrained(tmp_path)
    compare(ours, reference)
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    assert json.loads((tmp_path / "back" / "config.json").read_text("utf-8"))["model_type"] == "mt5"
    compare(ours, transformers.MT5EncoderModel.from_pretrained(tmp_path / "back"))


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (10, 18), (64, 1000), (4, 5)])
def test_buckets_of_relative_positions(buckets, distance):
    """Every distance up to 1499, including those at boundaries of buckets."""
    positions = torch.arange(-1499, 1500)
    theirs = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket(
        positions, num_buckets=buckets, max_distance=distance
    )
    ours = relative_position_buckets(1500, buckets, distance)
    np.testing.assert_array_equal(np.concatenate([ours[1499, :1499], ours[0]]), theirs.numpy())


def test_embeddings_instead_of_ids(tmp_path):
    reference = tiny_t5()
    reference.save_pretrained(tmp_path)
    ours = ours_lib.T5EncoderModel.from_pretrained(tmp_path)
    values, mask = (paddle.to_tensor(part) for part in ids())
    by_ids = ours(values, mask)
    by_embeds = ours(attention_mask=mask, inputs_embeds=ours.get_input_embeddings()(values), return_dict=False)
    np.testing.assert_array_equal(by_embeds[0].numpy(), by_ids.last_hidden_state.numpy())
    assert len(by_embeds) == 1


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_head_masks(tmp_path, shape):
    reference = tiny_t5()
    reference.save_pretrained(tmp_path)
    ours = ours_lib.T5EncoderModel.from_pretrained(tmp_path)
    values, mask = ids()
    heads = np.random.default_rng(1).random(shape).astype(np.float32)
    mine = ours(*map(paddle.to_tensor, (values, mask, heads)), output_attentions=True)
    with torch.no_grad():
        theirs = reference(*map(torch.from_numpy, (values, mask, heads)), output_attentions=True)
    assert_close(mine.last_hidden_state, theirs.last_hidden_state, 1e-5)
    for a, b in zip(mine.attentions, theirs.attentions, strict=True):
        assert_close(a, b, 1e-5)


def test_float_masks_and_all_padding(tmp_path):
    """As in the original, a mask may be fractional, and a text without tokens attends to everything."""
    reference = tiny_t5()
    reference.save_pretrained(tmp_path)
    ours = ours_lib.T5EncoderModel.from_pretrained(tmp_path)
    values, mask = ids()
    mask = mask.astype(np.float32)
    mask[0] = 0
    with torch.no_grad():
        theirs = reference(torch.from_numpy(values), attention_mask=torch.from_numpy(mask))
    mine = ours(paddle.to_tensor(values), paddle.to_tensor(mask))
    assert_close(mine.last_hidden_state, theirs.last_hidden_state, 1e-5)


@pytest.mark.parametrize("safe", [True, False])
def test_files_of_the_whole_model_in_shards(tmp_path, safe):
    """Decoder and head are ignored; the embedding has one of two names, or both."""
    config = transformers.T5Config(**SETTINGS, num_decoder_layers=1, tie_word_embeddings=False)
    whole = randomize(transformers.T5ForConditionalGeneration(config))
    whole.save_pretrained(tmp_path, max_shard_size="60KB", safe_serialization=safe)
    assert len(list(tmp_path.glob("*-of-*"))) > 2
    reference = transformers.T5EncoderModel.from_pretrained(tmp_path).eval()
    compare(ours_lib.T5EncoderModel.from_pretrained(tmp_path), reference)


def test_embedding_under_its_other_name(tmp_path):
    reference = tiny_t5()
    reference.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    compare(ours_lib.T5EncoderModel.from_pretrained(tmp_path), reference)
    del tensors["encoder.embed_tokens.weight"]
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"shared\.weight"):
        ours_lib.T5EncoderModel.from_pretrained(tmp_path)


def test_save_and_load_with_both_libraries(tmp_path):
    reference = tiny_t5()
    reference.save_pretrained(tmp_path / "torch", safe_serialization=False)
    ours = ours_lib.T5EncoderModel.from_pretrained(tmp_path / "torch")
    ours.save_pretrained(tmp_path / "paddle")
    again = ours_lib.T5EncoderModel.from_pretrained(tmp_path / "paddle")
    again.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = transformers.T5EncoderModel.from_pretrained(tmp_path / "back")
    for key, value in reference.state_dict().items():
        assert torch.equal(value, back.state_dict()[key]), key


def test_parts_that_stay_in_float32(tmp_path):
    """In float16, but not in bfloat16, `wo` is in float32, whether it is cast on loading or later."""
    reference = tiny_t5()
    reference.save_pretrained(tmp_path / "torch")
    for dtype in ("float16", "bfloat16"):
        theirs = transformers.T5EncoderModel.from_pretrained(tmp_path / "torch", torch_dtype=getattr(torch, dtype))
        loaded = ours_lib.T5EncoderModel.from_pretrained(tmp_path / "torch", paddle_dtype=dtype)
        cast = ours_lib.T5EncoderModel.from_pretrained(tmp_path / "torch").to(dtype=dtype)
        for n, network in enumerate((loaded, cast)):
            folder = tmp_path / f"{dtype}{n}"
            network.save_pretrained(folder, to_diffusers=True)
            tensors = load_file(folder / "model.safetensors")
            for key, value in tensors.items():
                assert value.dtype == theirs.state_dict()[key].dtype, (dtype, key)
                assert torch.equal(value, theirs.state_dict()[key]), (dtype, key)


def test_infinite_values_are_clipped():
    """As in float16: values that overflowed are clipped to a number with a margin, and finite ones stay."""
    x = paddle.to_tensor([[1.0, float("inf"), -float("inf"), -60000.0]])
    np.testing.assert_array_equal(clip_infinite(x, 65504.0).numpy(), [[1.0, 64504.0, -64504.0, -60000.0]])
    finite = paddle.to_tensor([[1.0, -65504.0]])
    np.testing.assert_array_equal(clip_infinite(finite, 65504.0).numpy(), finite.numpy())


def test_resized_embeddings(tmp_path):
    tiny_t5().save_pretrained(tmp_path)
    ours = ours_lib.T5EncoderModel.from_pretrained(tmp_path)
    ours.resize_token_embeddings(523, mean_resizing=False)
    assert ours.shared.weight.shape == ours.encoder.embed_tokens.weight.shape == [523, 24]
    assert ours(paddle.to_tensor([[522, 1]])).last_hidden_state.shape == [1, 2, 24]


def test_bad_inputs(tmp_path):
    tiny_t5().save_pretrained(tmp_path)
    ours = ours_lib.T5EncoderModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="both None"):
        ours()
    with pytest.raises(InputError, match=r"attention_mask has shape \[2, 3\](.|\n)*\[2, 4\]"):
        ours(paddle.ones([2, 4], dtype="int64"), paddle.ones([2, 3], dtype="int64"))
    with pytest.raises(ConfigError, match="Unknown feed_forward_proj"):
        ours_lib.T5Config(feed_forward_proj="wide-gelu")
    with pytest.raises(ConfigError, match="hidden_act"):
        ours_lib.T5EncoderModel(ours_lib.T5Config(feed_forward_proj="gated-magic"))
