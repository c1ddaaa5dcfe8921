"""Convert a checkpoint file of an original repository to a pipeline's folder. PyTorch is not needed but to verify."""

import sys

from ppdiffusers.cli.convert import run_script

if __name__ == "__main__":
    sys.exit(run_script(to="paddle", description=__doc__, of_original=True))
