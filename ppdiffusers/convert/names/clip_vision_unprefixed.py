"""The CLIP image encoder as transformers 5 writes it: without `vision_model.` in front."""

from ppdiffusers.convert.rules import Family, Rename

FAMILY = Family(
    name="transformers 5's names of the CLIP image encoder",
    present=("embeddings.class_embedding", "post_layernorm.weight"),
    rules=(
        Rename("embeddings.**", "vision_model.embeddings.**"),
        Rename("pre_layrnorm.*", "vision_model.pre_layrnorm.*"),
        Rename("encoder.**", "vision_model.encoder.**"),
        Rename("post_layernorm.*", "vision_model.post_layernorm.*"),
    ),
)
