"""VQ-Diffusion (arXiv 2111.14822): text to picture over the codes of an autoencoder."""
