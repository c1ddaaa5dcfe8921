"""Stable Diffusion: latent diffusion guided by a text encoder."""
