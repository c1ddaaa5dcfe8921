"""Pipelines: components put together so that a prompt, or nothing but noise, becomes a picture."""
