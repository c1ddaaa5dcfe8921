"""One OpenMP thread per test process (they run side by side), and no hub is ever asked."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["PPDIFFUSERS_COMPILE"] = "off"  # how fast the machine is must not decide what a test runs
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
