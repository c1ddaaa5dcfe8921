"""Data only: one small file per foreign naming."""
