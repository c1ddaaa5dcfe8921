"""The names of Grad-TTS: text encoder, and the UNet with its table of speakers."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule

_RESNET = {
    "mlp.1": "time_proj",
    "block1.block.0": "block1.conv",
    "block1.block.1": "block1.norm",
    "block2.block.0": "block2.conv",
    "block2.block.1": "block2.norm",
}
_RESNETS = {
    "downs.*.0": "downs.*.resnet1",
    "downs.*.1": "downs.*.resnet2",
    "ups.*.0": "ups.*.resnet1",
    "ups.*.1": "ups.*.resnet2",
    "mid_block1": "mid_block1",
    "mid_block2": "mid_block2",
}
_ATTENTIONS = {"downs.*.2": "downs.*.attn", "ups.*.2": "ups.*.attn", "mid_attn": "mid_attn"}
_UNET = "decoder.estimator"


def text_encoder_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a GradTTSTextEncoder."""
    return (
        Rename("encoder.emb.weight", "emb.weight"),
        Rename("encoder.prenet.conv_layers.*.*", "prenet.convs.*.*"),
        Rename("encoder.prenet.norm_layers.*.*", "prenet.norms.*.*"),
        Rename("encoder.prenet.proj.*", "prenet.proj.*"),
        Rename("encoder.encoder.attn_layers.*.**", "layers.*.attention.**"),
        Rename("encoder.encoder.norm_layers_1.*.*", "layers.*.norm_1.*"),
        Rename("encoder.encoder.norm_layers_2.*.*", "layers.*.norm_2.*"),
        Rename("encoder.encoder.ffn_layers.*.conv_1.*", "layers.*.conv_1.*"),
        Rename("encoder.encoder.ffn_layers.*.conv_2.*", "layers.*.conv_2.*"),
        Rename("encoder.proj_m.*", "mean_proj.*"),
        Rename("encoder.proj_w.**", "duration_predictor.**"),
    )


def unet_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a UNetGradTTSModel."""
    return (
        Rename("spk_emb.weight", "speakers.weight", optional=True),
        *_embedding(f"{_UNET}.spk_mlp", "speaker_embedding", optional=True),
        *_embedding(f"{_UNET}.mlp", "time_embedding"),
        *(
            Rename(f"{_UNET}.{old}.{part}.*", f"{new}.{name}.*", optional="ups" in old)
            for old, new in _RESNETS.items()
            for part, name in _RESNET.items()
        ),
        *(Rename(f"{_UNET}.{old}.res_conv.*", f"{new}.shortcut.*", optional=True) for old, new in _RESNETS.items()),
        *(Rename(f"{_UNET}.{old}.fn.g", f"{new}.gain", optional="ups" in old) for old, new in _ATTENTIONS.items()),
        *(
            Rename(f"{_UNET}.{old}.fn.fn.{part}.*", f"{new}.{part}.*", optional="ups" in old)
            for old, new in _ATTENTIONS.items()
            for part in ("to_qkv", "to_out")
        ),
        *(Rename(f"{_UNET}.{kind}.*.3.conv.*", f"{kind}.*.resample.*", optional=True) for kind in ("downs", "ups")),
        Rename(f"{_UNET}.final_block.block.0.*", "final_block.conv.*"),
        Rename(f"{_UNET}.final_block.block.1.*", "final_block.norm.*"),
        Rename(f"{_UNET}.final_conv.*", "final_conv.*"),
    )


def _embedding(old: str, new: str, optional: bool = False) -> tuple[Rule, ...]:
    """Two linear layers with an activation between them."""
    return tuple(
        Rename(f"{old}.{place}.*", f"{new}.{name}.*", optional=optional)
        for place, name in (("0", "linear_1"), ("2", "linear_2"))
    )
