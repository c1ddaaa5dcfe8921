"""The CLIP image encoder of transformers 5: without the prefix `vision_model.`."""

from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="transformers 5's names of the CLIP image encoder",
    present=("embeddings.class_embedding", "post_layernorm.weight"),
    rules=(
        Rename("embeddings.**", "vision_model.embeddings.**"),
        Rename("pre_layrnorm.*", "vision_model.pre_layrnorm.*"),
        Rename("encoder.**", "vision_model.encoder.**"),
        Rename("post_layernorm.*", "vision_model.post_layernorm.*"),
    ),
)
