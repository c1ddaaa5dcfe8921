"""Run by scripts/ci/paddlenlp_env.sh in an environment with paddlenlp and without PyTorch's libraries."""

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The main run's environment has no paddlenlp: there these files are not tests.
collect_ignore_glob = [] if importlib.util.find_spec("paddlenlp") else ["test_*.py"]
