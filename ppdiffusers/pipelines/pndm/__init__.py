"""PNDM: the multistep sampler of DDPM networks."""
