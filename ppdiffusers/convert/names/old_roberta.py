"""AltDiffusion's text encoder in early ppdiffusers: paddlenlp's RobertaModel and the linear layer.

Its files have Paddle's layout; `norm1` follows the attention, `norm2` the feed-forward network.
"""

from ppdiffusers.convert.rules import KeyMapping, Rename

_THEIRS, _OURS = "roberta.encoder.layers.*", "roberta.encoder.layer.*"
_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}

KEY_MAPPING = KeyMapping(
    name="paddlenlp's names of RoBERTa",
    present=("roberta.embeddings.layer_norm.weight", f"{_THEIRS}.norm1.weight"),
    rules=(
        Rename("roberta.embeddings.layer_norm.*", "roberta.embeddings.LayerNorm.*"),
        *(Rename(f"{_THEIRS}.{theirs}.*", f"{_OURS}.{ours}.*") for theirs, ours in _LAYER.items()),
    ),
)
