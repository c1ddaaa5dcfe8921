"""The safety checker of the old ppdiffusers: a paddlenlp image encoder under `clip.` and a bare projection."""

from ppdiffusers.convert.names.paddlenlp_clip_vision import FAMILY as VISION
from ppdiffusers.convert.rules import Family, Rename

FAMILY = Family(
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
