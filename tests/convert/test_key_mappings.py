"""Key mappings against the state dicts of transformers and diffusers."""

import pkgutil

import numpy as np
import pytest
import transformers
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)

from ppdiffusers.convert import names
from ppdiffusers.convert.apply import apply_key_mappings, apply_rules, load_key_mapping
from ppdiffusers.convert.rules import KeyMapping, inverse
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.tensors import LazyTensor

NAMES = [module.name for module in pkgutil.iter_modules(names.__path__)]
# Names that depend on how many levels and layers a network has: `rules(config)` (tests/conversion/test_originals.py).
CONFIGURED = {
    *("bddm", "compvis_ldm", "dance_diffusion", "ddpm", "fastdiff", "glide", "guided_diffusion", "ldm", "ncsnpp"),
    *("grad_tts", "hifigan", "karlo", "open_clip", "sgm_unet", "taesd"),
}
SMALL = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 6,
    "projection_dim": 5,
}
TEXT = transformers.CLIPTextConfig(vocab_size=11, **SMALL)
VISION = transformers.CLIPVisionConfig(image_size=8, patch_size=4, **SMALL)


def checkpoint(keys) -> dict[str, LazyTensor]:
    return {key: LazyTensor.of(np.full(1, n)) for n, key in enumerate(keys)}


def clip_keys(model: type, config) -> list[str]:
    return list(model(config).state_dict())


@pytest.mark.parametrize("name", sorted({*NAMES} - CONFIGURED))
def test_every_file_has_a_key_mapping(name):
    mapping = load_key_mapping(name)
    assert isinstance(mapping, KeyMapping)
    assert mapping.present
    assert mapping.rules


@pytest.mark.parametrize(
    ("name", "model", "config", "prefix"),
    [
        ("clip_text_unprefixed", transformers.CLIPTextModel, TEXT, "text_model."),
        ("clip_text_unprefixed", transformers.CLIPTextModelWithProjection, TEXT, "text_model."),
        ("clip_vision_unprefixed", transformers.CLIPVisionModel, VISION, "vision_model."),
        ("clip_vision_unprefixed", transformers.CLIPVisionModelWithProjection, VISION, "vision_model."),
    ],
)
def test_names_of_transformers_5(name, model, config, prefix):
    keys = clip_keys(model, config)
    source = checkpoint(key.removeprefix(prefix) for key in keys)
    result = apply_key_mappings([name], source)
    assert {key: tensor.read()[0] for key, tensor in result.items()} == {key: n for n, key in enumerate(keys)}
    # our own names stay
    assert list(apply_key_mappings([name], checkpoint(keys))) == keys


@pytest.mark.parametrize(
    ("name", "model", "config"),
    [
        ("paddlenlp_clip_text", transformers.CLIPTextModel, TEXT),
        ("paddlenlp_clip_text", transformers.CLIPTextModelWithProjection, TEXT),
        ("paddlenlp_clip_vision", transformers.CLIPVisionModel, VISION),
        ("paddlenlp_clip_vision", transformers.CLIPVisionModelWithProjection, VISION),
    ],
)
def test_names_of_paddlenlp_go_both_ways(name, model, config):
    keys = clip_keys(model, config)
    mapping = load_key_mapping(name)
    foreign = apply_rules(inverse(mapping.rules), checkpoint(keys))
    assert len(foreign) == len(keys)
    assert not set(foreign) & set(keys)  # every name differs
    assert {segment for key in foreign for segment in key.split(".") if not segment.isdigit()} <= {
        *("text_model", "vision_model", "token_embedding", "positional_embedding", "class_embedding", "conv1"),
        *("transformer", "layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "linear1", "linear2"),
        *("norm1", "norm2", "ln_pre", "ln_post", "ln_final", "weight", "bias", "text_projection", "vision_projection"),
    }
    result = apply_key_mappings([name], foreign)
    assert {key: tensor.read()[0] for key, tensor in result.items()} == {key: n for n, key in enumerate(keys)}


def test_names_of_roberta_in_paddlenlp():
    """tests/paddlenlp_env compares the names of real models."""
    config = RobertaSeriesConfig(vocab_size=11, hidden_size=8, num_attention_heads=2, num_hidden_layers=2)
    keys = list(RobertaSeriesModelWithTransformation(config).state_dict())
    foreign = apply_rules(inverse(load_key_mapping("old_roberta").rules), checkpoint(keys))
    same = {"word_embeddings", "position_embeddings", "token_type_embeddings", "pooler", "transformation"}
    assert all(same & set(key.split(".")) for key in set(foreign) & set(keys))
    result = apply_key_mappings(["old_roberta"], foreign)
    assert {key: tensor.read()[0] for key, tensor in result.items()} == {key: n for n, key in enumerate(keys)}
    assert list(apply_key_mappings(["old_roberta"], checkpoint(keys))) == keys


@pytest.mark.parametrize("name", ["safety_checker_unprefixed", "paddlenlp_safety_checker"])
def test_safety_checker(name):
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    config = transformers.CLIPConfig(vision_config=VISION.to_dict(), text_config=TEXT.to_dict(), projection_dim=5)
    keys = list(StableDiffusionSafetyChecker(config).state_dict())
    if name == "safety_checker_unprefixed":
        source = checkpoint(key.replace("vision_model.vision_model.", "vision_model.") for key in keys)
    else:
        source = apply_rules(inverse(load_key_mapping(name).rules), checkpoint(keys))
    assert set(source) != set(keys)
    result = apply_key_mappings(["safety_checker_unprefixed", "paddlenlp_safety_checker"], source)
    assert {key: tensor.read()[0] for key, tensor in result.items()} == {key: n for n, key in enumerate(keys)}
    untouched = apply_key_mappings(["safety_checker_unprefixed", "paddlenlp_safety_checker"], checkpoint(keys))
    assert list(untouched) == keys


def test_an_incomplete_checkpoint_is_an_error():
    keys = ["text_model.token_embedding.weight", "text_model.ln_final.weight", "text_model.ln_final.bias"]
    with pytest.raises(ConversionError, match="positional_embedding"):
        apply_key_mappings(["paddlenlp_clip_text"], checkpoint(keys), where="file")


def test_old_attention():
    block = "decoder.mid_block.attentions.0"
    source = checkpoint(f"{block}.{name}.weight" for name in ("query", "key", "value", "proj_attn", "group_norm"))
    assert set(apply_key_mappings(["old_attention"], source)) == {
        f"{block}.{name}.weight" for name in ("to_q", "to_k", "to_v", "to_out.0", "group_norm")
    }
