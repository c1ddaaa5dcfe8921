"""What `ppdiffusers doctor` looks at: software, machine, caches, sources; one module each."""
