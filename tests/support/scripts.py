"""Run the inference scripts in a separate process, offline and without torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INFERENCE = ROOT / "examples" / "inference"
SCRIPTS = sorted(INFERENCE.glob("*-*.py"))
# Modules of examples/inference/tiny whose `make` saves the folder of one pipeline.
TINY_CHECKPOINTS = sorted(p.stem for p in (INFERENCE / "tiny").glob("*.py") if "\ndef make(" in p.read_text("utf-8"))
# Packages that a user of Paddle does not have: importing one of them fails.
ABSENT = ("torch", "diffusers", "transformers", "huggingface_hub", "paddlenlp")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))"


def run_script(script: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run `script` in `folder` with an empty model cache; results are in `folder`/out."""
    (folder / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PPDIFFUSERS_OFFLINE": "1",
        "PPDIFFUSERS_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(script), "--output_dir", str(folder / "out"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)


def default_models(script: Path) -> dict[str, str]:
    """Option -> default model, for `--model` and similar options."""
    text = script.read_text(encoding="utf-8")
    found = dict(re.findall(r'add_argument\(\s*"(--(?:\w+_)?model)",\s*default="([^"]*)"', text))
    assert "--model" in found, f"{script.name} has no default for --model"
    return found
