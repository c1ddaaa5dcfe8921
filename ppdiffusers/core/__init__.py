"""Configurations, outputs, errors, lazy tensors and random streams; depends on the standard library and numpy only."""
