"""Check the version of Python, with a one-line error (runs on any Python 3)."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the check is for older versions
    found = ".".join(map(str, sys.version_info[:2]))
    sys.exit("ppdiffusers needs Python 3.10 or newer, this is " + found + ": try `make demo PYTHON=python3.11`.")
