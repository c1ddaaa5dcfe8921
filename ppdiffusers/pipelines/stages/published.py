"""Folders published in 2022 carry settings that were mistakes; their pictures are painted with the mended ones."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

UPSCALER_SCALING_FACTOR = 0.08333
DEFAULT_SCALING_FACTOR = 0.18215
# Stable Diffusion was trained with timesteps that start at 1 and without clipping of x_0 (latents exceed 1), and its
# inpainting is sampled without PNDM's Runge-Kutta steps.
_MEANT = {"steps_offset": 1, "clip_sample": False, "skip_prk_steps": True}


def mend_scheduler(scheduler: Any, keys: Iterable[str]) -> None:
    """Correct those of the scheduler's settings `keys` that are mistakes."""
    for key in keys if scheduler is not None else ():
        found = getattr(scheduler.config, key, _MEANT[key])
        if found != _MEANT[key]:
            _tell("scheduler", key, found, _MEANT[key])
            scheduler.register_to_config(**{key: _MEANT[key]})


def mend_unet(unet: Any) -> None:
    """UNets saved before 0.9.0 say `sample_size` 32 and were trained at 64."""
    side = getattr(getattr(unet, "config", None), "sample_size", None)
    if isinstance(side, int) and side < 64 and _before_0_9(unet.config.get("_diffusers_version")):
        _tell("unet", "sample_size", side, 64)
        unet.register_to_config(sample_size=64)


def mend_upscaler_vae(vae: Any) -> None:
    """The upscaler's latents are scaled by 0.08333; its first files did not say so, and the default is another."""
    if vae is not None and vae.config.scaling_factor != UPSCALER_SCALING_FACTOR:
        _tell("vae", "scaling_factor", vae.config.scaling_factor, UPSCALER_SCALING_FACTOR)
        vae.register_to_config(scaling_factor=UPSCALER_SCALING_FACTOR)


def mend_unconditional_vqvae(vqvae: Any) -> None:
    """CompVis/ldm-celebahq-256 has unscaled latents, and its file is older than the key that would say so.

    diffusers divides them by the key's default since 0.22, and paints nothing recognisable (its issue 6725).
    """
    config = getattr(vqvae, "config", {})
    if config.get("scaling_factor") == DEFAULT_SCALING_FACTOR and _before_0_9(config.get("_diffusers_version")):
        _tell("vqvae", "scaling_factor", config.scaling_factor, 1.0, "unconditional Latent Diffusion")
        vqvae.register_to_config(scaling_factor=1.0)


def tell_no_safety_checker(pipeline: Any) -> None:
    logger.warning(
        "%s has no safety checker: pictures are not filtered. Where others can see them, the licence of "
        "Stable Diffusion asks for one. `requires_safety_checker=False` silences this.",
        type(pipeline).__name__,
    )


def _before_0_9(version: str | None) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < (0, 9)


def _tell(component: str, key: str, found: Any, used: Any, family: str = "Stable Diffusion") -> None:
    warnings.warn(
        f"The configuration of the {component} says `{key}` {found!r}, which is outdated for {family}: "
        f"{used!r} is used. Correct its file to silence this.",
        FutureWarning,
        stacklevel=5,
    )
