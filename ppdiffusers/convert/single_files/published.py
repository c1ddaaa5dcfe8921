"""Configurations of the published models whose fine-tunes are single files, as their folders on the hubs have them.

Only values that differ from the defaults of our classes are written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A published model.

    Attributes:
        name: a short name, such as "sdxl_refiner".
        title: its name in messages.
        pipeline: class name of the pipeline that its folder names; "" for a file with one network.
        components: name -> (class name, configuration).
        settings: settings of the pipeline.
    """

    name: str
    title: str
    pipeline: str
    components: Mapping[str, tuple[str, Config]]
    settings: Config = field(default_factory=dict)

    def with_settings(self, component: str, **changes: Any) -> Family:
        """Return the family with other values in the configuration of one component."""
        class_name, config = self.components[component]
        return replace(self, components={**self.components, component: (class_name, {**config, **changes})})


# -- UNets ------------------------------------------------------------------------------------------------------------

_HEADS_OF_64 = (5, 10, 20, 20)
_SD1_UNET = {"sample_size": 64, "cross_attention_dim": 768}
_SD2_UNET = {
    "cross_attention_dim": 1024,
    "attention_head_dim": list(_HEADS_OF_64),
    "use_linear_projection": True,
}
_UPSCALER_UNET = {
    "sample_size": 128,
    "in_channels": 7,
    "block_out_channels": [256, 512, 512, 1024],
    "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
    "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
    "cross_attention_dim": 1024,
    "only_cross_attention": [True, True, True, False],
    "num_class_embeds": 1000,
    "use_linear_projection": True,
}
_SDXL_LEVELS = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_SDXL_UNET = {
    "sample_size": 128,
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    **_SDXL_LEVELS,
}
_REFINER_UNET = {
    **_SDXL_UNET,
    "block_out_channels": [384, 768, 1536, 1536],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": 4,
    "attention_head_dim": [6, 12, 24, 24],
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}

# -- autoencoders -----------------------------------------------------------------------------------------------------


def _vae(sample_size: int, scaling_factor: float = 0.18215, levels: int = 4, **settings: Any) -> tuple[str, Config]:
    """Return the autoencoder of latent diffusion; its last two levels have the same width."""
    return "AutoencoderKL", {
        "sample_size": sample_size,
        "block_out_channels": [128, 256, 512, 512][:levels],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": 2,
        "scaling_factor": scaling_factor,
        **settings,
    }


_SDXL_VAE = _vae(1024, 0.13025, force_upcast=True)

# -- text encoders and tokenizers -------------------------------------------------------------------------------------

# The pooled embedding is that of the token with the largest id, as in the releases of that time.
_TOKEN_IDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
_CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    **_TOKEN_IDS,
}
_OPEN_CLIP_H = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,  # of 24: the last one is not used
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
    **_TOKEN_IDS,
}
_OPEN_CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
    **_TOKEN_IDS,
}
_TOKENIZER = ("CLIPTokenizer", {"pad_token": "<|endoftext|>"})
_OPEN_TOKENIZER = ("CLIPTokenizer", {"pad_token": "!"})
_IMAGES: tuple[str, Config] = ("CLIPImageProcessor", {})

# -- schedulers -------------------------------------------------------------------------------------------------------

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_PNDM = ("PNDMScheduler", {**_NOISE, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1})
_DDIM = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
_SD1_DDIM = ("DDIMScheduler", {**_NOISE, **_DDIM})
_EULER_ANCESTRAL = ("EulerAncestralDiscreteScheduler", {**_NOISE, "steps_offset": 1})
_V_DDIM = ("DDIMScheduler", {**_NOISE, **_DDIM, "prediction_type": "v_prediction"})
_EULER = ("EulerDiscreteScheduler", {**_NOISE, "steps_offset": 1, "timestep_spacing": "leading"})
_UPSCALER_NOISE = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"}

# -- families ---------------------------------------------------------------------------------------------------------


def _sd1(
    name: str,
    title: str,
    pipeline: str,
    scheduler: tuple[str, Config] = _PNDM,
    in_channels: int = 4,
    image_size: int = 512,
) -> Family:
    components = {
        "vae": _vae(image_size),
        "text_encoder": ("CLIPTextModel", _CLIP_L),
        "tokenizer": _TOKENIZER,
        "unet": ("UNet2DConditionModel", {**_SD1_UNET, "in_channels": in_channels}),
        "scheduler": scheduler,
        "feature_extractor": _IMAGES,
    }
    return Family(name, title, pipeline, components)


def _sd2(name: str, title: str, pipeline: str, sample_size: int, scheduler: tuple[str, Config], **unet: Any) -> Family:
    components = {
        "vae": _vae(8 * sample_size),
        "text_encoder": ("CLIPTextModel", _OPEN_CLIP_H),
        "tokenizer": _OPEN_TOKENIZER,
        "unet": ("UNet2DConditionModel", {"sample_size": sample_size, **_SD2_UNET, **unet}),
        "scheduler": scheduler,
        "feature_extractor": _IMAGES,
    }
    return Family(name, title, pipeline, components, {"requires_safety_checker": False})


def _sdxl(name: str, title: str, pipeline: str, in_channels: int = 4, vae: tuple[str, Config] = _SDXL_VAE) -> Family:
    components = {
        "vae": vae,
        "text_encoder": ("CLIPTextModel", _CLIP_L),
        "tokenizer": _TOKENIZER,
        "text_encoder_2": ("CLIPTextModelWithProjection", _OPEN_CLIP_G),
        "tokenizer_2": _OPEN_TOKENIZER,
        "unet": ("UNet2DConditionModel", {**_SDXL_UNET, "in_channels": in_channels}),
        "scheduler": _EULER,
    }
    return Family(name, title, pipeline, components, {"force_zeros_for_empty_prompt": True})


_REFINER = Family(
    "sdxl_refiner",
    "Stable Diffusion XL refiner",
    "StableDiffusionXLImg2ImgPipeline",
    {
        "vae": _SDXL_VAE,
        "text_encoder_2": ("CLIPTextModelWithProjection", _OPEN_CLIP_G),
        "tokenizer_2": _OPEN_TOKENIZER,
        "unet": ("UNet2DConditionModel", _REFINER_UNET),
        "scheduler": _EULER,
    },
    {"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False},
)
_UPSCALER = Family(
    "upscaler",
    "Stable Diffusion x4 upscaler",
    "StableDiffusionUpscalePipeline",
    {
        "vae": _vae(256, 0.08333, levels=3),
        "text_encoder": ("CLIPTextModel", _OPEN_CLIP_H),
        "tokenizer": _OPEN_TOKENIZER,
        "unet": ("UNet2DConditionModel", _UPSCALER_UNET),
        "scheduler": ("DDIMScheduler", {**_UPSCALER_NOISE, **_DDIM, "prediction_type": "v_prediction"}),
        "low_res_scheduler": ("DDPMScheduler", _UPSCALER_NOISE),
    },
    {"max_noise_level": 350},
)


def _one(name: str, title: str, component: str, class_name: str, config: Config) -> Family:
    return Family(name, title, "", {component: (class_name, config)})


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        _sd1("sd1", "Stable Diffusion 1", "StableDiffusionPipeline"),
        _sd1(
            *("sd1_inpaint", "Stable Diffusion 1 inpainting", "StableDiffusionInpaintPipeline", _SD1_DDIM),
            in_channels=9,
            image_size=256,
        ),
        _sd1(
            *("instruct_pix2pix", "InstructPix2Pix", "StableDiffusionInstructPix2PixPipeline", _EULER_ANCESTRAL),
            in_channels=8,
        ),
        _sd2(
            *("sd2", "Stable Diffusion 2", "StableDiffusionPipeline", 96, _V_DDIM),
            upcast_attention=True,
        ),
        _sd2(
            *("sd2_inpaint", "Stable Diffusion 2 inpainting", "StableDiffusionInpaintPipeline", 64, _PNDM),
            in_channels=9,
        ),
        _UPSCALER,
        _sdxl("sdxl", "Stable Diffusion XL", "StableDiffusionXLPipeline"),
        _sdxl(
            *("sdxl_inpaint", "Stable Diffusion XL inpainting", "StableDiffusionXLInpaintPipeline", 9),
            vae=_vae(512, 0.13025, force_upcast=False),  # the one that does not overflow in float16
        ),
        _sdxl("sdxl_instruct_pix2pix", "Stable Diffusion XL edit", "StableDiffusionXLInstructPix2PixPipeline", 8),
        _REFINER,
        _one("vae", "autoencoder of Stable Diffusion", "vae", *_vae(512)),
        _one("sdxl_vae", "autoencoder of Stable Diffusion XL", "vae", *_SDXL_VAE),
        _one(
            "controlnet",
            "ControlNet of Stable Diffusion 1",
            "controlnet",
            "ControlNetModel",
            {"cross_attention_dim": 768},
        ),
        _one("controlnet_sd2", "ControlNet of Stable Diffusion 2", "controlnet", "ControlNetModel", _SD2_UNET),
        _one("controlnet_sdxl", "ControlNet of Stable Diffusion XL", "controlnet", "ControlNetModel", _SDXL_LEVELS),
    )
}
