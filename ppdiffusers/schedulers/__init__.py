"""Samplers: each file is one paper. Names are imported when they are used."""
