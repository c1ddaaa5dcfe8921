"""The CLIP text encoder as transformers 5 writes it: without `text_model.` in front."""

from ppdiffusers.convert.rules import Family, Rename

FAMILY = Family(
    name="transformers 5's names of the CLIP text encoder",
    present=("embeddings.token_embedding.weight", "final_layer_norm.weight"),
    rules=(
        Rename("embeddings.**", "text_model.embeddings.**"),
        Rename("encoder.**", "text_model.encoder.**"),
        Rename("final_layer_norm.*", "text_model.final_layer_norm.*"),
    ),
)
