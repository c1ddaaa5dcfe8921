"""Convert a checkpoint file of an original repository to a pipeline. PyTorch is required for `--verify` only."""

import sys

from ppdiffusers.cli.convert import run_script

if __name__ == "__main__":
    sys.exit(run_script(to="paddle", description=__doc__, of_original=True))
