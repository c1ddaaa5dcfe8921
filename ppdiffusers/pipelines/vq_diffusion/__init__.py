"""VQ-Diffusion (arXiv 2111.14822): text to image over the codes of an autoencoder."""
