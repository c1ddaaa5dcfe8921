"""Autoencoders: one architecture per file."""
