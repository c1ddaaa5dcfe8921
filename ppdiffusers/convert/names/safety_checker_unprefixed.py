"""The safety checker of transformers 5: its image encoder has one prefix `vision_model.` less."""

from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="transformers 5's names of the safety checker",
    present=("vision_model.embeddings.class_embedding", "vision_model.post_layernorm.weight"),
    absent=("vision_model.vision_model.**",),
    rules=(
        Rename("vision_model.embeddings.**", "vision_model.vision_model.embeddings.**"),
        Rename("vision_model.pre_layrnorm.*", "vision_model.vision_model.pre_layrnorm.*"),
        Rename("vision_model.encoder.**", "vision_model.vision_model.encoder.**"),
        Rename("vision_model.post_layernorm.*", "vision_model.vision_model.post_layernorm.*"),
    ),
)
