"""One OpenMP thread per test process (they run side by side), no hub is contacted, and a temporary cache is used."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["PPDIFFUSERS_COMPILE"] = "off"  # how fast the machine is must not decide what a test runs
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and the programs that tests start share it
    os.environ["PPDIFFUSERS_CACHE"] = tempfile.mkdtemp(prefix="ppdiffusers-tests-")
    atexit.register(shutil.rmtree, os.environ["PPDIFFUSERS_CACHE"], ignore_errors=True)


@pytest.fixture
def half_kernels(monkeypatch):
    """Networks stay in half precision on the CPU, as on a GPU; what would compute in it has to be replaced."""
    monkeypatch.setattr("ppdiffusers.utils.dtypes.lacks_half_precision", lambda place: False)
