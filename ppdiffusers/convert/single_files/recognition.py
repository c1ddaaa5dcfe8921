"""Which published model a single file belongs to, from its tensor names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

from ppdiffusers.convert.single_files import layouts
from ppdiffusers.convert.single_files.layouts import Layout, Tensors, find_layout
from ppdiffusers.convert.single_files.published import FAMILIES, Family
from ppdiffusers.convert.single_files.shapes import fitted

# Width of the prompt embeddings of a generation of Stable Diffusion
_SD2_WIDTH, _REFINER_WIDTH, _SDXL_WIDTH = 1024, 1280, 2048
# The embedding of sizes, which only XL's networks have, in both worlds
_SIZES = ("label_emb.0.0.weight", "add_embedding.linear_1.weight")
# Input channels of the UNet -> the variant of a family: noise, and a masked image or the image to change.
_VARIANTS = {
    ("sd1", 9): "sd1_inpaint",
    ("sd1", 8): "instruct_pix2pix",
    ("sd2", 9): "sd2_inpaint",
    ("sdxl", 9): "sdxl_inpaint",
    ("sdxl", 8): "sdxl_instruct_pix2pix",
}
# What training tools write -> `prediction_type` of the scheduler
_PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon"}


def recognise(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Family | None:
    """Return the published model whose architecture a file has; None if it is none of them.

    Args:
        tensors: of the file, which are not read.
        metadata: of a safetensors file; training tools store the prediction type there.
    """
    if (controlnet := find_layout("ControlNetModel", tensors)) is not None:
        return fitted(FAMILIES[_controlnet(controlnet, tensors)], "controlnet", controlnet, tensors)
    unet = find_layout("UNet2DConditionModel", tensors)
    if unet is None:
        return _vae(tensors, metadata or {})
    name = _generation(unet, tensors)
    name = _VARIANTS.get((name, _input_channels(unet, tensors)), name)
    family = fitted(FAMILIES[name], "unet", unet, tensors)
    return _with_prediction(family, tensors, metadata or {})


def is_playground(tensors: Tensors) -> bool:
    """Return whether this is Playground v2.5, which has the networks of Stable Diffusion XL and another noise."""
    return "edm_mean" in tensors


def _generation(unet: Layout, tensors: Tensors) -> str:
    """Return the model: by the text encoders of the file, or by the UNet in a file without them."""
    if unet.prefix + "label_emb.weight" in tensors or unet.prefix + "class_embedding.weight" in tensors:
        return "upscaler"
    if layouts.XL_OPEN_CLIP + "token_embedding.weight" in tensors:
        return "sdxl"
    if layouts.REFINER_OPEN_CLIP + "token_embedding.weight" in tensors:
        return "sdxl_refiner"
    width = prompt_width(unet, tensors)
    if width != _SD2_WIDTH and any(unet.prefix + name in tensors for name in _SIZES):
        return "sdxl_refiner" if width == _REFINER_WIDTH else "sdxl"
    if any(name.startswith(layouts.OPEN_CLIP) for name in tensors):
        return "sd2"
    if any(name.startswith(layouts.CLIP) for name in tensors):
        return "sd1"
    return "sd2" if width == _SD2_WIDTH else "sd1"


def _controlnet(layout: Layout, tensors: Tensors) -> str:
    width = prompt_width(layout, tensors)  # None in a small one of XL, which has no attention
    if width == _SDXL_WIDTH or any(layout.prefix + name in tensors for name in _SIZES):
        return "controlnet_sdxl"
    return "controlnet_sd2" if width == _SD2_WIDTH else "controlnet"


def _vae(tensors: Tensors, metadata: Mapping[str, str]) -> Family | None:
    if find_layout("AutoencoderKL", tensors) is None:
        return None
    is_xl = metadata.get("modelspec.architecture", "").startswith("stable-diffusion-xl")
    return FAMILIES["sdxl_vae" if is_xl else "vae"]


def prompt_width(layout: Layout, tensors: Tensors) -> int | None:
    """Return the width of the prompt embeddings for which a UNet or ControlNet is made; None without attention."""
    ending = ".transformer_blocks.0.attn2.to_k.weight"
    found = (tensor for name, tensor in tensors.items() if name.startswith(layout.prefix) and name.endswith(ending))
    return next((tensor.shape[-1] for tensor in found if len(tensor.shape) == 2), None)


def _input_channels(unet: Layout, tensors: Tensors) -> int:
    shape = tensors[unet.prefix + unet.sign].shape
    return shape[1] if len(shape) == 4 else 0


def _with_prediction(family: Family, tensors: Tensors, metadata: Mapping[str, str]) -> Family:
    """Set the prediction type that the file names: diffusers does not read it, and generates noise."""
    stored = metadata.get("modelspec.prediction_type", "v" if "v_pred" in tensors else "")
    changes: dict[str, object] = {}
    if stored in _PREDICTIONS:
        changes["prediction_type"] = _PREDICTIONS[stored]
    if "ztsnr" in tensors and family.components["scheduler"][0] != "PNDMScheduler":  # which cannot
        changes["rescale_betas_zero_snr"] = True
    return family.with_settings("scheduler", **changes) if changes else family
