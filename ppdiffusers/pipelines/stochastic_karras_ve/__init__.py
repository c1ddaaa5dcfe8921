"""The stochastic second-order sampler of Karras et al."""
