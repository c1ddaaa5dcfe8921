"""CLIP's image encoder in paddlenlp; nothing is transposed, as in the text encoder."""

from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="paddlenlp's names of the CLIP image encoder",
    present=("vision_model.class_embedding", "vision_model.conv1.weight"),
    rules=(
        Rename("vision_model.class_embedding", "vision_model.embeddings.class_embedding"),
        Rename("vision_model.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        Rename("vision_model.positional_embedding.weight", "vision_model.embeddings.position_embedding.weight"),
        Rename("vision_model.ln_pre.*", "vision_model.pre_layrnorm.*"),
        Rename("vision_model.transformer.layers.*.self_attn.**", "vision_model.encoder.layers.*.self_attn.**"),
        Rename("vision_model.transformer.layers.*.linear1.*", "vision_model.encoder.layers.*.mlp.fc1.*"),
        Rename("vision_model.transformer.layers.*.linear2.*", "vision_model.encoder.layers.*.mlp.fc2.*"),
        Rename("vision_model.transformer.layers.*.norm1.*", "vision_model.encoder.layers.*.layer_norm1.*"),
        Rename("vision_model.transformer.layers.*.norm2.*", "vision_model.encoder.layers.*.layer_norm2.*"),
        Rename("vision_model.ln_post.*", "vision_model.post_layernorm.*"),
        Rename("vision_projection", "visual_projection.weight", optional=True),
    ),
)
