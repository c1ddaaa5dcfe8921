"""Transformers over pictures: one architecture per file."""
