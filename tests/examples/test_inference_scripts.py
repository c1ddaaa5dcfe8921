"""Every inference script runs as it is with `--tiny`, offline and without torch, and writes what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples" / "inference").glob("*-*.py"))
RESULTS = {".png", ".wav", ".txt"}
# What a user of Paddle alone does not have: a script that reaches for one of these fails.
ABSENT = ("torch", "diffusers", "transformers", "huggingface_hub", "paddlenlp")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs(script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "PPDIFFUSERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--tiny", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    # the tiny checkpoint that the script makes first lies in tiny/: its vocabularies are no results
    results = (path for path in (tmp_path / "out").rglob("*") if path.suffix in RESULTS)
    written = [path for path in results if "tiny" not in path.relative_to(tmp_path).parts]
    assert written, "the script wrote no result"
    assert all(path.name in done.stdout for path in written), "the script does not say where its results are"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_explained_in_chinese_and_listed(script):
    text = script.read_text(encoding="utf-8")
    assert len(re.findall(r"[\u4e00-\u9fff]", text)) >= 40
    for readme in ("README.md", "README_zh.md"):
        assert f"examples/inference/{script.name}" in (ROOT / readme).read_text(encoding="utf-8"), readme
