"""What the checkpoints of original repositories hold: one file per family, from its configuration to ours."""
