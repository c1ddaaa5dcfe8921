"""Latent Diffusion (arXiv 2112.10752): text to picture with LDMBert, and four times the resolution."""
