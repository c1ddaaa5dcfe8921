"""Says in one line what is wrong when the interpreter is too old to go on (runs on any Python 3)."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the check is for those who have an older one
    found = ".".join(map(str, sys.version_info[:2]))
    sys.exit("ppdiffusers needs Python 3.10 or newer, this is " + found + ": try `make demo PYTHON=python3.11`.")
