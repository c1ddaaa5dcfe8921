"""Every inference script runs with `--tiny`, offline and without torch, and reports the files that it writes."""

import ast
import re
import shlex

import pytest

from ppdiffusers.cli import main as cli
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


def commands_in(script) -> list[str]:
    """The `ppdiffusers` commands of a docstring, each on lines of its own."""
    lines = (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").splitlines()
    return [line for line in lines if line.startswith("ppdiffusers ")]


WITH_COMMANDS = [script for script in SCRIPTS if commands_in(script)]


@pytest.mark.parametrize("script", WITH_COMMANDS, ids=lambda path: path.stem)
def test_commands_of_the_documentation_are_valid(script, monkeypatch):
    """Their arguments are those of the command line; what a command does has tests of its own."""
    monkeypatch.setattr(cli, "run", lambda action, arguments: 0)
    assert all(cli.main(shlex.split(command)[1:]) == 0 for command in commands_in(script))
