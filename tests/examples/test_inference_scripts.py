"""Every inference script runs with `--tiny`, offline and without torch, and reports the files that it writes."""

import re

import pytest

from tests.support.scripts import ROOT, SCRIPTS, run_script

RESULTS = {".png", ".wav", ".txt"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs(script, tmp_path):
    done = run_script(script, tmp_path, "--tiny")
    assert done.returncode == 0, done.stderr[-3000:]
    # the script creates a tiny checkpoint in tiny/, whose vocabularies are not results
    results = (path for path in (tmp_path / "out").rglob("*") if path.suffix in RESULTS)
    written = [path for path in results if "tiny" not in path.relative_to(tmp_path).parts]
    assert written, "the script wrote no result"
    assert all(path.name in done.stdout for path in written), "the script does not report where its results are"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_documented_in_chinese_and_listed(script):
    text = script.read_text(encoding="utf-8")
    assert len(re.findall(r"[\u4e00-\u9fff]", text)) >= 40
    for readme in ("README.md", "README_zh.md"):
        assert f"examples/inference/{script.name}" in (ROOT / readme).read_text(encoding="utf-8"), readme
