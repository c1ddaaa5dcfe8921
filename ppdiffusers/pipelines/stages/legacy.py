"""Corrections of wrong settings in legacy checkpoints, those published in 2022."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.autoencoders.vq_model import VQModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler

logger = get_logger(__name__)

UPSCALER_SCALING_FACTOR = 0.08333
DEFAULT_SCALING_FACTOR = 0.18215
# Stable Diffusion was trained with timesteps that start at 1 and without clipping of x_0 (latents exceed 1), and its
# inpainting is sampled without PNDM's Runge-Kutta steps.
_CORRECT = {"steps_offset": 1, "clip_sample": False, "skip_prk_steps": True}


def correct_scheduler(scheduler: Scheduler | None, keys: Iterable[str]) -> None:
    """Correct those of the scheduler's settings `keys` that are wrong."""
    for key in keys if scheduler is not None else ():
        found = getattr(scheduler.config, key, _CORRECT[key])
        if found != _CORRECT[key]:
            _warn("scheduler", key, found, _CORRECT[key])
            scheduler.register_to_config(**{key: _CORRECT[key]})


def correct_unet(unet: UNet2DConditionModel | None) -> None:
    """Correct `sample_size` of UNets saved before 0.9.0: 32 in the file, but trained at 64."""
    size = getattr(getattr(unet, "config", None), "sample_size", None)
    if isinstance(size, int) and size < 64 and _before_0_9(unet.config.get("_diffusers_version")):
        _warn("unet", "sample_size", size, 64)
        unet.register_to_config(sample_size=64)


def correct_upscaler_vae(vae: AutoencoderKL | None) -> None:
    """Correct `scaling_factor` of the upscaler's VAE: 0.08333, which its first files lack."""
    if vae is not None and vae.config.scaling_factor != UPSCALER_SCALING_FACTOR:
        _warn("vae", "scaling_factor", vae.config.scaling_factor, UPSCALER_SCALING_FACTOR)
        vae.register_to_config(scaling_factor=UPSCALER_SCALING_FACTOR)


def correct_unconditional_vqvae(vqvae: VQModel | None) -> None:
    """Correct `scaling_factor` of CompVis/ldm-celebahq-256: its latents are unscaled, and its file predates the key.

    Since 0.22 diffusers divides them by the default of the key, which gives unrecognisable images (its issue 6725).
    """
    if vqvae is None:
        return
    config = vqvae.config
    if config.get("scaling_factor") == DEFAULT_SCALING_FACTOR and _before_0_9(config.get("_diffusers_version")):
        _warn("vqvae", "scaling_factor", config.scaling_factor, 1.0, "unconditional Latent Diffusion")
        vqvae.register_to_config(scaling_factor=1.0)


def warn_of_missing_safety_checker(pipeline: object, model: str = "Stable Diffusion") -> None:
    logger.warning(
        "%s has no safety checker: images are not filtered. The licence of %s requires one for "
        "public services. `requires_safety_checker=False` silences this warning.",
        type(pipeline).__name__,
        model,
    )


def _before_0_9(version: str | None) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < (0, 9)


def _warn(component: str, key: str, found: Any, used: Any, family: str = "Stable Diffusion") -> None:
    warnings.warn(
        f"The configuration of the {component} has `{key}` {found!r}, which is outdated for {family}: "
        f"{used!r} is used. Correct its file to silence this warning.",
        FutureWarning,
        stacklevel=5,
    )
