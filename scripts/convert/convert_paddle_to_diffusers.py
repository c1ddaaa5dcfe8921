"""Convert a Paddle folder for diffusers and transformers. PyTorch is only needed for `--verify`."""

import sys

from ppdiffusers.cli.convert import run_script

if __name__ == "__main__":
    sys.exit(run_script(to="diffusers", description=__doc__))
