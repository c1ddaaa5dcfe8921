"""HiFi-GAN's names are those of the original repository."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rule


def rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return no rule: every tensor keeps its name."""
    return ()
