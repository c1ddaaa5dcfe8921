"""Readers of original checkpoints: each describes one family's configuration and networks in terms of our classes.

`families.py` lists the families. A family `<name>` has two files: `checkpoints/<name>.py` translates its configuration,
`names/<name>.py` its tensor names.
"""
