"""Parts of a pipeline call, each usable alone: checks, prompts, latents, guidance, the denoising loop, safety."""
