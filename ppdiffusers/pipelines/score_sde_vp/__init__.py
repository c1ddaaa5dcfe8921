"""Score matching by the variance-preserving SDE."""
