"""Code in a new interpreter, for what happens at the first import."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(code: str, **variables: str | None) -> list[str]:
    """What a new interpreter prints, one item per line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{k: v for k, v in variables.items() if v is not None}}
    for name, value in variables.items():
        if value is None:
            environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
