"""CLIP's text encoder in paddlenlp.

Its files have Paddle's layout: its bare parameter `text_projection` [in, out] is our Linear weight without transposing.
`rules.inverse` returns the opposite rules.
"""

from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="paddlenlp's names of the CLIP text encoder",
    present=("text_model.token_embedding.weight", "text_model.ln_final.weight"),
    rules=(
        Rename("text_model.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        Rename("text_model.positional_embedding.weight", "text_model.embeddings.position_embedding.weight"),
        Rename("text_model.transformer.layers.*.self_attn.**", "text_model.encoder.layers.*.self_attn.**"),
        Rename("text_model.transformer.layers.*.linear1.*", "text_model.encoder.layers.*.mlp.fc1.*"),
        Rename("text_model.transformer.layers.*.linear2.*", "text_model.encoder.layers.*.mlp.fc2.*"),
        Rename("text_model.transformer.layers.*.norm1.*", "text_model.encoder.layers.*.layer_norm1.*"),
        Rename("text_model.transformer.layers.*.norm2.*", "text_model.encoder.layers.*.layer_norm2.*"),
        Rename("text_model.ln_final.*", "text_model.final_layer_norm.*"),
        Rename("text_projection", "text_projection.weight", optional=True),
    ),
)
