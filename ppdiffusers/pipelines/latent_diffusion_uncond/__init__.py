"""Latent diffusion without a condition."""
