"""Verbosity of ppdiffusers: the module `utils.logging` under its short name."""

from ppdiffusers.utils.logging import *  # noqa: F403
from ppdiffusers.utils.logging import __all__ as __all__
