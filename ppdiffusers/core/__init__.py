"""Standard library and numpy only: what every other room stands on."""
