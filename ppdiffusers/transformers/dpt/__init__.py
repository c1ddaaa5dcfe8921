"""DPT, dense prediction transformers (arXiv 2103.13413)."""
