"""Attention of the networks: the layer and its processors."""
