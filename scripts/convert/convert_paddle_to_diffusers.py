"""Convert a Paddle checkpoint to diffusers and transformers. PyTorch is required for `--verify` only."""

import sys

from ppdiffusers.cli.convert import run_script

if __name__ == "__main__":
    sys.exit(run_script(to="diffusers", description=__doc__))
