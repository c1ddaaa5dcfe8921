"""Our public signatures against those of the pinned diffusers and transformers, read live.

Every parameter that the original has must exist here with the same default and in the same order, so that a call
written for the original works. What differs on purpose is listed, with its reason, in `differences.py`.
"""

import inspect

import diffusers
import pytest
import transformers

import ppdiffusers
import ppdiffusers.transformers as our_transformers
from tests.compat.differences import METHODS, PARAMETERS


def pairs() -> list:
    """(our class, the original) for every public class that exists on both sides."""
    found = []
    for ours_in, theirs_in in ((ppdiffusers, diffusers), (our_transformers, transformers)):
        for name in ours_in.__all__:
            ours, theirs = getattr(ours_in, name), getattr(theirs_in, name, None)
            if inspect.isclass(ours) and inspect.isclass(theirs) and not issubclass(theirs, dict):
                found.append(pytest.param(ours, theirs, id=name))
    return found


def own_methods(cls: type, library: str) -> dict:
    """Public methods and `__init__`/`__call__` that the library itself defines (not torch's or object's)."""
    methods = {}
    for name in dir(cls):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        value = inspect.getattr_static(cls, name)
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function) and function.__module__.split(".")[0] == library:
            methods[name] = inspect.unwrap(function)
    return methods


def allowed(table: dict, cls: type, rest: str) -> bool:
    return f"{cls.__name__}.{rest}" in table or f"*.{rest}" in table


def parameters(function) -> dict:
    return {
        p.name: p
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def as_plain(default: object) -> object:
    """Defaults are compared as values: an enumeration's as its value, a list as a tuple, a dtype by its name."""
    default = getattr(default, "value", default)
    return tuple(map(as_plain, default)) if isinstance(default, (list, tuple)) else str(default)


def differences(ours: type, theirs: type) -> list[str]:
    found = []
    library = theirs.__module__.split(".")[0]
    for name, original in own_methods(theirs, library).items():
        if allowed(METHODS, theirs, name):
            continue
        function = getattr(ours, name, None) if name != "__init__" else ours.__init__
        if function is None:
            found.append(f"{name}: missing")
            continue
        mine = parameters(inspect.unwrap(function))
        takes_any = any(
            p.kind is p.VAR_KEYWORD for p in inspect.signature(inspect.unwrap(function)).parameters.values()
        )
        common = []
        for key, parameter in parameters(original).items():
            if allowed(PARAMETERS, theirs, f"{name}({key})"):
                continue
            if key not in mine:
                if not takes_any:
                    found.append(f"{name}({key}): missing")
            else:
                common.append(key)
                if as_plain(mine[key].default) != as_plain(parameter.default):
                    found.append(f"{name}({key}): default {mine[key].default!r}, original {parameter.default!r}")
        if common != [key for key in mine if key in common]:
            found.append(f"{name}: the order of {common} differs")
    return found


@pytest.mark.parametrize(("ours", "theirs"), pairs())
def test_signatures(ours, theirs):
    found = differences(ours, theirs)
    assert not found, f"{ours.__name__}:\n  " + "\n  ".join(found)


def test_something_is_compared():
    assert len(pairs()) >= 15


def test_reasons_are_given():
    for table in (PARAMETERS, METHODS):
        assert all(len(reason) > 10 for reason in table.values())
