"""Sounds without a condition."""
