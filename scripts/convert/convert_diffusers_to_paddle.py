"""Convert a diffusers folder (PyTorch weights) to Paddle. PyTorch is only needed for `--verify`."""

import sys

from ppdiffusers.cli.convert import run_script

if __name__ == "__main__":
    sys.exit(run_script(to="paddle", description=__doc__))
