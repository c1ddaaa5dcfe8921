"""BERT's tokenizers."""
