"""DPT: dense prediction transformers, which estimate depth."""
