"""DDIM: the quick sampler of DDPM networks."""
