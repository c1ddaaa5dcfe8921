"""Where a single file stores each network, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ppdiffusers.convert.checkpoints.base import ema_without_dots, strip_prefix
from ppdiffusers.convert.names import ldm, open_clip
from ppdiffusers.convert.rules import Rule
from ppdiffusers.core.tensors import LazyTensor

Config = Mapping[str, Any]
Tensors = Mapping[str, LazyTensor]

UNET, VAE, CONTROLNET = "model.diffusion_model.", "first_stage_model.", "control_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
XL_CLIP, XL_OPEN_CLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
REFINER_OPEN_CLIP = "conditioner.embedders.0.model."
EMA = "model_ema."


def _no_rules(config: Config) -> tuple[Rule, ...]:
    return ()


@dataclass(frozen=True)
class Layout:
    """How a single file stores one network.

    Attributes:
        prefix: of the names in the file.
        sign: a name after the prefix by which the layout is recognised.
        rules: return the rules that map the names after the prefix to ours, for a configuration of our class.
    """

    prefix: str
    sign: str
    rules: Callable[[Config], tuple[Rule, ...]] = _no_rules

    def tensors(self, file: Tensors) -> dict[str, LazyTensor]:
        """Return the tensors of the network by their names after the prefix."""
        return {name: _with_axes(name, tensor) for name, tensor in strip_prefix(file, self.prefix).items()}

    @property
    def has_our_names(self) -> bool:
        """Whether the names after the prefix are those of our class, which are those of PyTorch's libraries."""
        return self.rules is _no_rules

    def matches(self, tensors: Tensors) -> bool:
        """Return whether a file has this network, in this layout."""
        return self.prefix + self.sign in tensors

    def optional_rules(self, config: Config) -> tuple[Rule, ...]:
        """Return the rules for a file that may lack tensors, which are reported together later."""
        return tuple(replace(rule, optional=True) for rule in self.rules(config))


def _with_axes(name: str, tensor: LazyTensor) -> LazyTensor:
    """Return projections of attention in an autoencoder as 1x1 convolutions; some tools store matrices."""
    missing = 4 - len(tensor.shape)
    is_matrix = missing in (1, 2) and ".attn_1." in name and name.endswith(".weight")
    return tensor.reshaped((*tensor.shape, *(1,) * missing)) if is_matrix else tensor


_TOKENS, _OPEN_TOKENS = "text_model.embeddings.token_embedding.weight", "token_embedding.weight"
_UNPREFIXED_TOKENS = "embeddings.token_embedding.weight"
# Class -> its layouts, in the order in which they are tried. The last ones are those of a file with one network only.
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "UNet2DConditionModel": (
        Layout(UNET, "input_blocks.0.0.weight", ldm.unet_rules),
        Layout("", "input_blocks.0.0.weight", ldm.unet_rules),
        Layout("", "conv_in.weight"),
    ),
    "AutoencoderKL": (
        Layout("vae.", "encoder.conv_in.weight", ldm.vae_rules),
        Layout(VAE, "encoder.conv_in.weight", ldm.vae_rules),
        Layout("", "encoder.down_blocks.0.resnets.0.conv1.weight"),
        Layout("", "encoder.conv_in.weight", ldm.vae_rules),
    ),
    "ControlNetModel": (
        Layout(CONTROLNET, "input_blocks.0.0.weight", ldm.controlnet_rules),
        Layout("", "input_hint_block.0.weight", ldm.controlnet_rules),
        Layout("", "controlnet_cond_embedding.conv_in.weight"),
    ),
    "CLIPTextModel": (
        Layout(CLIP, _TOKENS),
        Layout(CLIP, _UNPREFIXED_TOKENS),  # some old fine-tunes; the names of transformers 5
        Layout(XL_CLIP, _TOKENS),
        Layout(OPEN_CLIP, _OPEN_TOKENS, open_clip.text_rules),
    ),
    "CLIPTextModelWithProjection": (
        Layout(XL_OPEN_CLIP, _OPEN_TOKENS, open_clip.text_rules),
        Layout(REFINER_OPEN_CLIP, _OPEN_TOKENS, open_clip.text_rules),
    ),
}


def find_layout(class_name: str, tensors: Tensors) -> Layout | None:
    """Return the layout in which a file has a network of this class; None if the file has none."""
    return next((layout for layout in LAYOUTS.get(class_name, ()) if layout.matches(tensors)), None)


def averaged(tensors: Tensors) -> Tensors:
    """Return the tensors of a file with the averaged (EMA) weights of the UNet in place of the trained ones.

    Raises:
        WeightsError: averages are missing; all of them are listed.
    """
    trained = strip_prefix(tensors, UNET)
    averages = ema_without_dots(trained, strip_prefix(tensors, EMA), "diffusion_model.")
    return {**tensors, **{UNET + name: tensor for name, tensor in averages.items()}}


def has_averages(names: Iterable[str]) -> bool:
    """Return whether a file has averaged weights in addition to the trained ones; small ones are something else."""
    return sum(name.startswith("model_ema") for name in names) > 100


# -- writing ----------------------------------------------------------------------------------------------------------

# Beginnings of our names that no layout has: what a table cannot express.
_OURS = (
    *(
        f"{part}{block}."
        for part in ("", "encoder.", "decoder.")
        for block in ("down_blocks", "mid_block", "up_blocks")
    ),
    *("conv_in.", "time_embedding.", "add_embedding.", "class_embedding.", "encoder_hid_proj."),
)


def layouts_to_write(components: Mapping[str, tuple[str, Config]]) -> dict[str, Layout]:
    """Return the layout of each network of a pipeline that a single file stores.

    Args:
        components: name -> class name and configuration; others than networks may be among them.
    """
    found = {name: _layout_to_write(name, class_name, config) for name, (class_name, config) in components.items()}
    if "text_encoder_2" in found:
        first = "text_encoder" in found
        found["text_encoder_2"] = LAYOUTS["CLIPTextModelWithProjection"][0 if first else 1]
        if first:
            found["text_encoder"] = LAYOUTS["CLIPTextModel"][2]
    return {name: layout for name, layout in found.items() if layout is not None}


def _layout_to_write(name: str, class_name: str, config: Config) -> Layout | None:
    if class_name == "CLIPTextModel" and name == "text_encoder":
        # OpenAI's CLIP has another activation than OpenCLIP
        return LAYOUTS[class_name][0 if config.get("hidden_act", "quick_gelu") == "quick_gelu" else 3]
    if class_name == "AutoencoderKL":
        return LAYOUTS[class_name][3 if name == "." else 1]  # alone, it has no prefix
    if class_name == "ControlNetModel" and config.get("addition_embed_type") == "text_time":
        return LAYOUTS[class_name][2]  # of XL, as published; diffusers reads only a part of the original names
    return LAYOUTS[class_name][0] if class_name in LAYOUTS else None


def names_without_layout(names: Iterable[str]) -> list[str]:
    """Return the names that a table has left as ours."""
    return [name for name in names if name.startswith(_OURS)]
