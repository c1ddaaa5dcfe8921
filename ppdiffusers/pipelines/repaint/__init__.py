"""Inpainting with unconditional networks."""
