"""Each class of the registry is created from its own configuration, shows it, and has its values as attributes."""

import functools
import json
import warnings

import paddle
import pytest

from ppdiffusers import SchedulerMixin, registry
from ppdiffusers.core.config import ConfigMixin

# Arguments of classes that have none without a default, or whose defaults describe no network.
ARGUMENTS = {
    "ControlNetUnionModel": {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 80},
    "LearnedClassifierFreeSamplingEmbeddings": {"learnable": True, "hidden_size": 4, "length": 3},
    "Transformer2DModel": {"in_channels": 32, "num_attention_heads": 2, "attention_head_dim": 16},
    "UnCLIPTextProjModel": {"time_embed_dim": 8, "cross_attention_dim": 6},
    "VQDiffusionScheduler": {"num_vec_classes": 4},
}
ENTRIES = [*registry.entries("model"), *registry.entries("scheduler")]
# Containers of several networks have no configuration of their own.
CONFIGURED = [e.name for e in ENTRIES if issubclass(e.load(), ConfigMixin) and not e.networks_class]
WITH_CONFIG_OBJECT = [
    entry.name for entry in (*ENTRIES, *registry.entries("encoder")) if not issubclass(entry.load(), ConfigMixin)
]


@functools.cache
def create(name):
    """An object of the class, without memory for its weights."""
    with paddle.LazyGuard():
        return registry.find(name).load()(**ARGUMENTS.get(name, {}))


@pytest.mark.parametrize("name", CONFIGURED)
def test_created_from_its_own_configuration(name, caplog):
    made = create(name)
    copied = dict(made.config)
    copied.pop("_use_default_values", None)  # keys of a copy may be deleted
    with paddle.LazyGuard():
        again = type(made)(**made.config)
        from_copy = type(made).from_config(copied) if isinstance(made, SchedulerMixin) else None  # slow for networks
    assert again.config == made.config and not caplog.text
    assert from_copy is None or from_copy.config.items() >= copied.items()


@pytest.mark.parametrize("name", CONFIGURED)
def test_values_are_attributes_with_a_warning(name):
    made = create(name)
    for key in (key for key in made.config if not key.startswith("_")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = getattr(made, key)
        if caught:  # the others are attributes of the object itself, as in diffusers
            assert caught[0].category is FutureWarning and f"config.{key}" in str(caught[0].message)
            assert value == made.config[key]


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_configuration_as_text(name):
    made = create(name)
    text = made.to_json_string()
    assert json.loads(text)["_class_name"] == name
    assert isinstance(made, paddle.nn.Layer) or repr(made) == f"{name} {text}"


@pytest.mark.parametrize("name", [name for name in CONFIGURED if registry.find(name).kind == "model"])
def test_gradient_checkpointing_exists_where_diffusers_has_it(name):
    entry = registry.find(name)
    if entry.has_original and getattr(entry.original(), "_supports_gradient_checkpointing", False):
        assert entry.load()._supports_gradient_checkpointing
        made = create(name)
        made.enable_gradient_checkpointing()
        assert made.is_gradient_checkpointing
        made.disable_gradient_checkpointing()
        assert not made.is_gradient_checkpointing


@pytest.mark.parametrize("name", WITH_CONFIG_OBJECT)
def test_configurations_of_encoders(name):
    """As in transformers, the configuration is an object of its own class."""
    config_class = registry.find(name).load().config_class
    config = config_class()
    assert config_class(**config.to_dict()).to_dict() == config.to_dict()
    assert json.loads(config.to_json_string(use_diff=False)) == json.loads(json.dumps(config.to_dict()))
