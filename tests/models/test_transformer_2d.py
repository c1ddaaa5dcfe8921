"""Transformer2DModel against diffusers: over codes (VQ-Diffusion) and over feature maps (Latent Diffusion)."""

import diffusers
import numpy as np
import pytest
import torch

from ppdiffusers import Transformer2DModel
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

CODES = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "cross_attention_dim": 32,
    "attention_bias": True,
    "sample_size": 5,
    "num_vector_embeds": 14,
    "activation_fn": "geglu-approximate",
    "num_embeds_ada_norm": 100,
    "norm_type": "ada_norm",
}
PIXELS = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 24,
    "num_layers": 2,
    "norm_num_groups": 8,
    "cross_attention_dim": 20,
}
CONFIGS_OVER_CODES = {
    "VQ-Diffusion": CODES,
    # files of 2022: the norms follow from the number of timesteps
    "without a norm type": {key: value for key, value in CODES.items() if key != "norm_type"},
    "plain norms": {key: value for key, value in CODES.items() if key not in ("norm_type", "num_embeds_ada_norm")},
    "one head, wide text, gelu": {
        **CODES,
        "num_attention_heads": 1,
        "cross_attention_dim": 40,
        "activation_fn": "gelu",
    },
}
CONFIGS_OVER_PIXELS = {
    "convolutions": PIXELS,
    "linear projections": {**PIXELS, "use_linear_projection": True},
    "self attention alone": {**PIXELS, "cross_attention_dim": None},
    "timestep in the norms": {**PIXELS, "num_embeds_ada_norm": 50, "norm_type": "ada_norm"},
    "only cross attention": {**PIXELS, "only_cross_attention": True},
}
# microsoft/vq-diffusion-ithq
VQ_DIFFUSION = {
    **CODES,
    "num_attention_heads": 16,
    "attention_head_dim": 64,
    "num_layers": 19,
    "cross_attention_dim": 512,
    "sample_size": 32,
    "num_vector_embeds": 4097,
}


def codes_and_text(config, seed=0):
    """Return (ours, theirs) of codes [2, 25], some of them masks, and of prompts [2, 7, D]."""
    codes = np.random.default_rng(seed).integers(0, config["num_vector_embeds"], (2, 25))
    codes[0, :5] = config["num_vector_embeds"] - 1
    return both(codes), both(noise((2, 7, config["cross_attention_dim"]), "text"))


@pytest.mark.parametrize("name", CONFIGS_OVER_CODES)
def test_over_codes(tmp_path, name):
    config = CONFIGS_OVER_CODES[name]
    ours, reference = twins(tmp_path, diffusers.Transformer2DModel(**config))
    (codes, tcodes), (text, ttext) = codes_and_text(config)
    for timestep in (0, 99):
        mine = ours(codes, encoder_hidden_states=text, timestep=timestep).sample
        with torch.no_grad():
            theirs = reference(tcodes, encoder_hidden_states=ttext, timestep=torch.tensor(timestep)).sample
        assert_close(mine, theirs, what=f"timestep {timestep}")
        np.testing.assert_allclose(np.exp(mine.numpy()).sum(axis=1), 1, rtol=1e-5)
    assert ours.num_latent_pixels == reference.num_latent_pixels


def test_fewer_codes_than_the_grid(tmp_path):
    ours, reference = twins(tmp_path, diffusers.Transformer2DModel(**CODES))
    (codes, tcodes), (text, ttext) = codes_and_text(CODES)
    mine, theirs = ours(codes[:, :17], text, 3).sample, reference(tcodes[:, :17], ttext, torch.tensor(3)).sample
    assert_close(mine, theirs)


def test_timestep_per_batch_entry(tmp_path):
    ours, _ = twins(tmp_path, diffusers.Transformer2DModel(**CODES))
    (codes, _), (text, _) = codes_and_text(CODES)
    together = ours(codes, text, both(np.array([3, 90]))[0]).sample
    for row, timestep in enumerate((3, 90)):
        alone = ours(codes[row : row + 1], text[row : row + 1], timestep, return_dict=False)[0]
        assert_close(together[row : row + 1], alone, 1e-5)
    assert np.abs(together.numpy() - ours(codes, text, 3).sample.numpy())[1].max() > 1e-3  # the timestep has an effect


@pytest.mark.parametrize("size", [(6, 10), (5, 7)])
@pytest.mark.parametrize("name", CONFIGS_OVER_PIXELS)
def test_over_pixels(tmp_path, name, size):
    config = CONFIGS_OVER_PIXELS[name]
    ours, reference = twins(tmp_path, diffusers.Transformer2DModel(**config))
    x, tx = both(noise((2, 24, *size)))
    mine, theirs = {}, {}
    if config["cross_attention_dim"] is not None:
        mine["encoder_hidden_states"], theirs["encoder_hidden_states"] = both(noise((2, 7, 20), "text"))
    if "num_embeds_ada_norm" in config:
        mine["timestep"], theirs["timestep"] = both(np.array(31))
    with torch.no_grad():
        assert_close(ours(x, **mine).sample, reference(tx, **theirs).sample)


@pytest.mark.parametrize("kind", ["mask", "bias"])
@pytest.mark.parametrize("name", ["codes", "pixels"])
def test_masks(tmp_path, name, kind):
    """Masks of tokens and prompts, as 1 and 0 or as a bias."""
    ours, reference = twins(tmp_path, diffusers.Transformer2DModel(**{"codes": CODES, "pixels": PIXELS}[name]))
    if name == "codes":
        (x, tx), (text, ttext) = codes_and_text(CODES)
    else:
        (x, tx), (text, ttext) = both(noise((2, 24, 5, 5))), both(noise((2, 7, 20), "text"))
    kept = [np.ones((2, 25), dtype=np.float32), np.ones((2, 7), dtype=np.float32)]
    kept[0][0, 9:], kept[1][1, 3:] = 0, 0
    if kind == "bias":
        kept = [(1 - mask[:, None]) * -10000 for mask in kept]
    (mask, tmask), (text_mask, ttext_mask) = map(both, kept)
    plain = ours(x, text, 5).sample.numpy()
    mine = ours(x, text, 5, attention_mask=mask, encoder_attention_mask=text_mask).sample
    with torch.no_grad():
        masks = {"attention_mask": tmask, "encoder_attention_mask": ttext_mask}
        assert_close(mine, reference(tx, ttext, torch.tensor(5), **masks).sample)
    assert np.abs(mine.numpy() - plain).max() > 1e-3


@pytest.mark.parametrize("config", [CODES, PIXELS, VQ_DIFFUSION], ids=["codes", "pixels", "VQ-Diffusion"])
def test_state_dict_keys(config):
    config = {"norm_type": "layer_norm", **config}  # diffusers requires it
    assert_same_keys(Transformer2DModel, diffusers.Transformer2DModel, config)


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as caught:
        Transformer2DModel(num_vector_embeds=14, in_channels=8, norm_type="ada_norm", patch_size=2)
    for word in ("patch_size = 2", "in_channels", "sample_size", "num_embeds_ada_norm"):
        assert word in str(caught.value)
    with pytest.raises(ConfigError, match="must be set"):
        Transformer2DModel()


def test_wrong_inputs(tmp_path):
    ours, _ = twins(tmp_path, diffusers.Transformer2DModel(**CODES))
    (codes, _), (text, _) = codes_and_text(CODES)
    with pytest.raises(InputError) as caught:
        ours(codes.tile([1, 2]), text)
    assert "[batch, at most 25]" in str(caught.value)
    assert "timestep is None" in str(caught.value)


def test_gradients_with_checkpointing(tmp_path):
    ours, _ = twins(tmp_path, diffusers.Transformer2DModel(**CODES))
    (codes, _), (text, _) = codes_and_text(CODES)
    ours.train()
    gradients = []
    for checkpointing in (False, True):
        ours.enable_gradient_checkpointing(checkpointing)
        assert ours.is_gradient_checkpointing == checkpointing
        ours.clear_gradients()
        text.stop_gradient = False
        ours(codes, text, 5).sample.square().mean().backward()
        gradients.append((text.grad.numpy(), ours.latent_image_embedding.emb.weight.grad.numpy()))
        text.clear_gradient()
    for plain, recomputed in zip(*gradients, strict=True):
        assert np.abs(plain).max() > 0
        np.testing.assert_array_equal(plain, recomputed)
