"""Mutated and hostile files, each loaded in a process with limits: see `docs/reliability.md`."""
