"""Our layers do not replace methods of `paddle.nn.Layer` by others of the same name."""

import importlib
import pkgutil

from paddle import nn

import ppdiffusers

# Methods that subclasses override for what they mean in Paddle; `to` has the arguments of Paddle's, and more.
OVERRIDDEN = {"forward", "extra_repr", "to", "train", "eval"}


def subclasses(cls: type) -> set[type]:
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


def test_no_method_of_paddle_is_replaced_by_accident():
    """Otherwise `to("gpu")` or `apply` call ours with arguments of Paddle's."""
    for module in pkgutil.walk_packages(ppdiffusers.__path__, "ppdiffusers."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    bases = {base for cls in subclasses(nn.Layer) for base in cls.__mro__ if base.__module__.startswith("ppdiffusers.")}
    assert len(bases) > 100
    of_paddle = {name for name in dir(nn.Layer) if not name.startswith("__")} - OVERRIDDEN
    replaced = {f"{cls.__module__}.{cls.__name__}": sorted(vars(cls).keys() & of_paddle) for cls in bases}
    assert not {name: methods for name, methods in replaced.items() if methods}
