"""What pipelines share: checks, prompts, first latents, guidance, the bookkeeping of the loop, pictures, safety."""
