"""Transformers over images: one architecture per file."""
