"""The one place where the version of ppdiffusers is written."""

__version__ = "1.0.0"
