"""Unconditional latent diffusion."""
