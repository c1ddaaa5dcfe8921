"""What the conversion of a single file is compared with: the same file, as diffusers loads it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from ppdiffusers import registry
from ppdiffusers.conversion.options import Options, check_options
from ppdiffusers.conversion.plan import Component, Plan
from ppdiffusers.conversion.verify import WHY
from ppdiffusers.conversion.write import write_plan
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.extras import need


def prepare_verification(
    plan: Plan, plan_for: Callable[[Options], Plan], source: Path, temporary: Path, options: Options, ema: bool
) -> None:
    """Set what the output is compared with: the file as diffusers loads it, and a folder of the other framework."""
    for_torch = check_options("diffusers", options.dtype, None)
    configs = plan_for(for_torch)
    for component in configs.components:
        if _reads_single_files(component):
            component.tensors = None
    write_plan(configs, source, temporary / "configs", for_torch, verify=False, progress=False)
    other = temporary / "configs"
    if options.to == "diffusers":
        other, for_paddle = temporary / "paddle", check_options("paddle", options.dtype, None)
        write_plan(plan_for(for_paddle), source, other, for_paddle, verify=False, progress=False)
    pipeline = "" if plan.index is None else plan.index["_class_name"]
    load = cache(partial(_load_in_diffusers, pipeline, source, temporary / "configs", ema))
    for component in plan.components:
        component.source = other / component.name
        entry = registry.components()[component.class_name]
        if entry.has_weights and pipeline:
            component.reference = partial(_component_of, load, component.name)
        elif _reads_single_files(component):
            component.reference = partial(_load_in_diffusers, component.class_name, source, temporary / "configs", ema)


def _reads_single_files(component: Component) -> bool:
    return hasattr(registry.components()[component.class_name].load(), "from_single_file")


def _component_of(load: Callable[[], Any], name: str) -> Any:
    return getattr(load(), name)


def _load_in_diffusers(class_name: str, source: Path, configs: Path, ema: bool) -> Any:
    """Load the file in diffusers; the configurations, and text encoders that it does not find there, are in a folder.

    Raises:
        ConversionError: diffusers does not load the file.
    """
    cls = getattr(need("diffusers", WHY), class_name)
    try:
        return cls.from_single_file(str(source), config=str(configs), local_files_only=True, extract_ema=ema)
    except Exception as error:
        raise ConversionError(
            "diffusers does not load the file, so that the conversion cannot be verified.",
            where=source,
            problems=[f"{type(error).__name__}: {error}"],
            remedy="convert it without --verify.",
        ) from error
