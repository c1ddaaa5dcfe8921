"""The inference scripts, run as a user of Paddle alone runs them: in a process of their own, without torch, offline."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INFERENCE = ROOT / "examples" / "inference"
SCRIPTS = sorted(INFERENCE.glob("*-*.py"))
# What a user of Paddle alone does not have: a script that reaches for one of these fails.
ABSENT = ("torch", "diffusers", "transformers", "huggingface_hub", "paddlenlp")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))"


def run_script(script: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run `script` in `folder`, which holds an empty cache of models; results go to `folder`/out."""
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


def published_models(script: Path) -> dict[str, str]:
    """Option -> the published model that it names if nothing else is said: `--model`, first of all."""
    text = script.read_text(encoding="utf-8")
    found = dict(re.findall(r'add_argument\(\s*"(--(?:\w+_)?model)",\s*default="([^"]*)"', text))
    assert "--model" in found, f"{script.name} has no default for --model"
    return found
