"""PriorTransformer against diffusers: unCLIP's prior, and the forms that other models use."""

import diffusers
import numpy as np
import pytest
import torch

from ppdiffusers import PriorTransformer
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

PRIOR = {
    "num_attention_heads": 3,
    "attention_head_dim": 12,
    "num_layers": 2,
    "embedding_dim": 20,
    "num_embeddings": 7,
    "additional_embeddings": 4,
}
# openai/shap-e: a grid of latents, no hidden states of a prompt, no learned token
SHAP_E = {
    **PRIOR,
    "additional_embeddings": 0,
    "norm_in_type": "layer",
    "encoder_hid_proj_type": None,
    "added_emb_type": None,
    "time_embed_act_fn": "gelu",
    "time_embed_dim": 48,
    "embedding_proj_dim": 14,
    "embedding_proj_norm_type": "layer",
    "clip_embed_dim": 30,
}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("timestep", [321, [5, 700]])
def test_prior(tmp_path, masked, timestep):
    ours, theirs = twins(tmp_path, diffusers.PriorTransformer(**PRIOR))
    (x, tx), (p, tp) = both(noise((2, 20))), both(noise((2, 20), "prompt"))
    h, th = both(noise((2, 7, 20), "states"))
    (t, tt) = both(np.asarray(timestep)) if isinstance(timestep, list) else (timestep, timestep)
    mask, tmask = None, None
    if masked:
        mask, tmask = both(np.asarray([[True] * 7, [True] * 4 + [False] * 3]))
    found = ours(x, t, p, h, mask).predicted_image_embedding
    with torch.no_grad():
        assert_close(found, theirs(tx, tt, tp, th, tmask).predicted_image_embedding)
        assert_close(ours.post_process_latents(x), theirs.post_process_latents(tx))
    assert found.shape == [2, 20]


def test_grid_of_latents(tmp_path):
    ours, theirs = twins(tmp_path, diffusers.PriorTransformer(**SHAP_E))
    (x, tx), (p, tp) = both(noise((2, 7, 20))), both(noise((2, 14), "prompt"))
    found = ours(x, 17, p).predicted_image_embedding
    with torch.no_grad():
        assert_close(found, theirs(tx, 17, tp).predicted_image_embedding)
    assert found.shape == [2, 7, 30]


def test_published_size():
    """kakaobrain/karlo-v1-alpha."""
    assert_same_keys(PriorTransformer, diffusers.PriorTransformer, {"num_layers": 20})


def test_bad_settings_and_inputs():
    with pytest.raises(ConfigError, match="norm_in_type.*\n.*added_emb_type"):
        PriorTransformer(**PRIOR | {"norm_in_type": "batch", "added_emb_type": "both"})
    network = PriorTransformer(**PRIOR)
    x, _ = both(noise((2, 20)))
    with pytest.raises(InputError, match="encoder_hidden_states is None"):
        network(x, 1, x)
