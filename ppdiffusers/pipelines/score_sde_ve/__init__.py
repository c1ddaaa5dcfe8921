"""Score matching by the variance-exploding SDE."""
