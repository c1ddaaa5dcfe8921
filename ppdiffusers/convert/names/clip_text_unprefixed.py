"""The CLIP text encoder of transformers 5: without the prefix `text_model.`."""

from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="transformers 5's names of the CLIP text encoder",
    present=("embeddings.token_embedding.weight", "final_layer_norm.weight"),
    rules=(
        Rename("embeddings.**", "text_model.embeddings.**"),
        Rename("encoder.**", "text_model.encoder.**"),
        Rename("final_layer_norm.*", "text_model.final_layer_norm.*"),
    ),
)
