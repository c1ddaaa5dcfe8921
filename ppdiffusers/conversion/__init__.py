"""Whole folders from one framework to the other: `convert_diffusers_to_paddle`, `convert_paddle_to_diffusers`."""
