"""XLM-RoBERTa (arXiv 1911.02116)."""
