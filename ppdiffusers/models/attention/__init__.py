"""Attention layers, their processors, and access to the processors of a network."""
