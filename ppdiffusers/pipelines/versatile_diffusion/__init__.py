"""Versatile Diffusion: images from prompts, from images, and from both (Xu et al., arXiv 2211.08332)."""
