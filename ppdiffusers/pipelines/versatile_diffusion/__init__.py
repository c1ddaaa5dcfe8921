"""Versatile Diffusion: pictures from texts, from pictures, and from both (Xu et al., arXiv 2211.08332)."""
