"""Conversion of whole folders between frameworks: `convert_diffusers_to_paddle`, `convert_paddle_to_diffusers`."""
