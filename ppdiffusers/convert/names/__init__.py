"""Mappings of foreign key names to ours, one file each; data only."""
