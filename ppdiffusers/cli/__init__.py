"""The `ppdiffusers` command."""
