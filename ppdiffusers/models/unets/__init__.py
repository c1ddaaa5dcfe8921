"""UNets: one architecture per file."""
