"""Checks of `cross_attention_kwargs`."""

from __future__ import annotations

from collections.abc import Mapping

from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


def warn_about_scale(cross_attention_kwargs: Mapping[str, object] | None) -> None:
    """Warn that layers inside a network ignore `scale`: the network's own forward applies it to its adapters."""
    if cross_attention_kwargs and cross_attention_kwargs.get("scale") is not None:
        logger.warning("Passing `scale` to `cross_attention_kwargs` is deprecated. `scale` will be ignored.")
