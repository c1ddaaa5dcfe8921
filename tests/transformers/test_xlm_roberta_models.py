"""XLM-RoBERTa and AltDiffusion's text encoder against transformers and diffusers: outputs, masks, loading, saving."""

import numpy as np
import paddle
import pytest
import torch
import transformers
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.pipelines.alt_diffusion import modeling_roberta_series as ours_series
from tests.support.parity import assert_close, randomize

SETTINGS = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 22, "type_vocab_size": 1, "layer_norm_eps": 1e-3,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip


def ids():
    """Return ids and mask of three texts of different lengths."""
    values = np.random.default_rng(0).integers(4, 100, (3, 12))
    values[:, 0] = 0
    for row, end in zip(values, (5, 12, 8), strict=True):
        row[end - 1] = 2
        row[end:] = 1
    return values, (values != 1).astype(np.int64)


def compare(ours, reference, keys):
    values, mask = ids()
    for attention_mask in (None, mask):
        mine = ours(
            paddle.to_tensor(values),
            attention_mask=None if attention_mask is None else paddle.to_tensor(attention_mask),
            output_hidden_states=True,
        )
        with torch.no_grad():
            theirs = reference(
                torch.from_numpy(values),
                attention_mask=None if attention_mask is None else torch.from_numpy(attention_mask),
                output_hidden_states=True,
                return_dict=True,
            )
        assert list(mine.keys()) == list(theirs.keys()) == [*keys, "hidden_states"]
        for key in keys:
            assert_close(mine[key], theirs[key], 1e-5, key)
        for a, b in zip(mine.hidden_states, theirs.hidden_states, strict=True):
            assert_close(a, b, 1e-5)


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_xlm_roberta(tmp_path, act):
    reference = randomize(transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**SETTINGS, hidden_act=act)))
    reference.save_pretrained(tmp_path)
    compare(ours_lib.XLMRobertaModel.from_pretrained(tmp_path), reference, ["last_hidden_state", "pooler_output"])


def test_attention_weights(tmp_path):
    config = transformers.XLMRobertaConfig(**SETTINGS, attn_implementation="eager")
    reference = randomize(transformers.XLMRobertaModel(config))
    reference.save_pretrained(tmp_path)
    ours = ours_lib.XLMRobertaModel.from_pretrained(tmp_path)
    values, mask = ids()
    mine = ours(paddle.to_tensor(values), attention_mask=paddle.to_tensor(mask), output_attentions=True)
    with torch.no_grad():
        theirs = reference(torch.from_numpy(values), attention_mask=torch.from_numpy(mask), output_attentions=True)
    assert list(mine.keys()) == list(theirs.keys())
    for a, b in zip(mine.attentions, theirs.attentions, strict=True):
        assert_close(a, b, 1e-5)
    assert_close(mine.last_hidden_state, theirs.last_hidden_state, 1e-5)


def series(tmp_path, pre, safe=True):
    """Return (ours, the reference) of AltDiffusion's text encoder."""
    config = RobertaSeriesConfig(**SETTINGS, project_dim=24, has_pre_transformation=pre)
    reference = randomize(RobertaSeriesModelWithTransformation(config))
    reference.save_pretrained(tmp_path, safe_serialization=safe)
    return ours_series.RobertaSeriesModelWithTransformation.from_pretrained(tmp_path), reference


@pytest.mark.parametrize("pre", [False, True])
def test_with_transformation(tmp_path, pre):
    ours, reference = series(tmp_path, pre)
    assert ours.has_pre_transformation is pre
    values, mask = ids()
    compare(ours, reference, ["projection_state", "last_hidden_state"])
    as_tuple = ours(paddle.to_tensor(values), paddle.to_tensor(mask), return_dict=False)
    assert [tuple(part.shape) for part in as_tuple] == [(3, 12, 24), (3, 12, 32)]


@pytest.mark.parametrize("pre", [False, True])
def test_save_and_load_with_both_libraries(tmp_path, pre):
    ours, reference = series(tmp_path / "torch", pre, safe=False)
    ours.save_pretrained(tmp_path / "paddle")
    again = type(ours).from_pretrained(tmp_path / "paddle")
    again.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = RobertaSeriesModelWithTransformation.from_pretrained(tmp_path / "back")
    for key, value in reference.state_dict().items():
        assert torch.equal(value, back.state_dict()[key]), key
    assert back.config.project_dim == 24 and back.has_pre_transformation is pre


def test_legacy_files(tmp_path):
    """Released files contain position buffers; some contain CLIP's logit scale or lack the pooler."""
    from safetensors.torch import load_file, save_file

    ours, _ = series(tmp_path, False)
    path = tmp_path / "model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if "pooler" not in key}
    extra = {"roberta.embeddings.position_ids": torch.arange(22)[None], "logit_scale": torch.ones(1)}
    save_file({**kept, **extra}, path, metadata={"format": "pt"})
    again = type(ours).from_pretrained(tmp_path)
    values, mask = (paddle.to_tensor(part) for part in ids())
    np.testing.assert_array_equal(again(values, mask)[0].numpy(), ours(values, mask)[0].numpy())


def test_bad_inputs(tmp_path):
    ours, _ = series(tmp_path, False)
    with pytest.raises(InputError, match="at most 20 tokens"):
        ours(paddle.zeros([1, 21], dtype="int64"))
    with pytest.raises(InputError, match="input_ids is None"):
        ours()
    with pytest.raises(ConfigError, match="relative_key"):
        ours_lib.XLMRobertaModel(ours_lib.XLMRobertaConfig(position_embedding_type="relative_key"))
    with pytest.raises(ConfigError, match="not a multiple"):
        ours_lib.XLMRobertaModel(ours_lib.XLMRobertaConfig(hidden_size=30, num_attention_heads=4))
