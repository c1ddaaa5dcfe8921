"""Latent Diffusion (arXiv 2112.10752): text to image with LDMBert, and four times the resolution."""
