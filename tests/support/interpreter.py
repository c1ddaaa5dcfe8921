"""Run code in a new interpreter, to test the first import."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(code: str, **variables: str | None) -> list[str]:
    """Lines that a new interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{k: v for k, v in variables.items() if v is not None}}
    for name, value in variables.items():
        if value is None:
            environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
