"""Public signatures are those of diffusers and transformers, which are read from the installed packages.

A call written for the original works here: every method that both have accepts the parameters of the original, in its
order and with its defaults, and the methods that users call (`MUST_EXIST`) exist. Deliberate differences are listed in
`differences.py`, each with its reason.
"""

import inspect

import diffusers
import pytest
import transformers

import ppdiffusers
import ppdiffusers.transformers as our_transformers
from tests.compat.differences import DEFAULTS, METHODS, PARAMETERS

# Public methods that exist here wherever the original has them.
MUST_EXIST = {
    *("__init__", "__call__", "forward", "from_pretrained", "save_pretrained", "from_config", "save_config", "to"),
    *("step", "set_timesteps", "scale_model_input", "add_noise", "get_velocity", "set_begin_index"),
    *("encode", "decode", "enable_slicing", "disable_slicing", "enable_tiling", "disable_tiling"),
    *("set_attention_slice", "enable_gradient_checkpointing", "disable_gradient_checkpointing", "num_parameters"),
    *("encode_prompt", "check_inputs", "prepare_latents", "from_pipe", "progress_bar", "set_progress_bar_config"),
    *("enable_attention_slicing", "disable_attention_slicing", "enable_vae_slicing", "disable_vae_slicing"),
    *("enable_vae_tiling", "disable_vae_tiling", "numpy_to_pil", "register_modules", "run_safety_checker"),
    *("preprocess", "postprocess", "resize", "blur", "get_crop_region", "apply_overlay"),
    *("get_text_features", "get_image_features", "get_input_embeddings"),
}
# Arguments of these are specific to PyTorch or to the hub.
SKIPPED_CLASSES = {"ConfigMixin", "PretrainedConfig", "FrozenDict", "BaseOutput"}


def pairs() -> list:
    """(our class, the original) for every public class that exists on both sides."""
    found = []
    for ours_in, theirs_in in ((ppdiffusers, diffusers), (our_transformers, transformers)):
        for name in ours_in.__all__:
            ours, theirs = getattr(ours_in, name), getattr(theirs_in, name, None)
            if name in SKIPPED_CLASSES or not (inspect.isclass(ours) and inspect.isclass(theirs)):
                continue
            found.append(pytest.param(ours, theirs, id=name))
    return found


def own_methods(cls: type, library: str) -> dict:
    """Public methods, `__init__` and `__call__` that the library defines (not those of torch or object)."""
    methods = {}
    for name in dir(cls):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        value = inspect.getattr_static(cls, name)
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function) and function.__module__.split(".")[0] == library:
            methods[name] = inspect.unwrap(function)
    return methods


def listed(table: dict, cls: type, rest: str) -> bool:
    return f"{cls.__name__}.{rest}" in table or f"*.{rest}" in table


def parameters(function) -> dict:
    """Named parameters of a method, without `self` or `cls`."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    listed = inspect.signature(function).parameters.values()
    return {p.name: p for p in listed if p.name not in ("self", "cls") and p.kind in named}


def as_plain(default: object) -> str:
    """A default as text: enumerations as their value, lists as tuples, dtypes by name."""
    default = getattr(default, "value", default)
    if isinstance(default, (list, tuple)):
        return str(tuple(map(as_plain, default)))
    return str(default).removeprefix("torch.")


def differences(ours: type, theirs: type) -> list[str]:
    found = []
    library = theirs.__module__.split(".")[0]
    for name, original in own_methods(theirs, library).items():
        function = getattr(ours, name, None)
        if function is None:
            if name in MUST_EXIST and not listed(METHODS, theirs, name):
                found.append(f"{name}: missing")
            continue
        if not callable(function):
            continue
        function = inspect.unwrap(function)
        mine = parameters(function)
        accepts_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
        common = []
        for key, parameter in parameters(original).items():
            if key not in mine:
                if not accepts_any and not listed(PARAMETERS, theirs, f"{name}({key})"):
                    found.append(f"{name}({key}): missing")
                continue
            common.append(key)
            same = as_plain(mine[key].default) == as_plain(parameter.default)
            if not same and not listed(DEFAULTS, theirs, f"{name}({key})"):
                found.append(f"{name}({key}): default {mine[key].default!r}, original {parameter.default!r}")
        by_position = [k for k in common if mine[k].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        if by_position != [key for key in mine if key in by_position]:
            found.append(f"{name}: {by_position} are in another order")
    return found


@pytest.mark.parametrize(("ours", "theirs"), pairs())
def test_signatures(ours, theirs):
    found = differences(ours, theirs)
    assert not found, f"{ours.__name__}:\n  " + "\n  ".join(found)


def test_something_is_compared():
    assert len(pairs()) >= 15


def test_reasons_are_given():
    for table in (PARAMETERS, DEFAULTS, METHODS):
        assert all(len(reason) > 10 for reason in table.values())
