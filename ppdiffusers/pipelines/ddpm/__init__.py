"""Denoising diffusion probabilistic models: one network, no conditioning."""
