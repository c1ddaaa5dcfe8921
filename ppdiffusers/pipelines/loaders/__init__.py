"""Loaders of additional weights into a pipeline: LoRA and textual inversion."""
