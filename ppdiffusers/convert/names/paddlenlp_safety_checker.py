"""The safety checker of early ppdiffusers: a paddlenlp image encoder with the prefix `clip.` and a bare projection."""

from ppdiffusers.convert.names.paddlenlp_clip_vision import KEY_MAPPING as VISION
from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="the safety checker with paddlenlp's names",
    present=("clip.vision_model.class_embedding", "vision_projection"),
    rules=(
        Rename("vision_projection", "visual_projection.weight"),
        *(
            Rename(f"clip.{rule.source}", f"vision_model.{rule.target}")
            for rule in VISION.rules
            if isinstance(rule, Rename) and rule.source != "vision_projection"
        ),
    ),
)
