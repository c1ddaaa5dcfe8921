"""AltDiffusion: Stable Diffusion with a text encoder that reads Chinese and many other languages."""
