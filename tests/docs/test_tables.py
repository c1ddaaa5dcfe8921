"""The tables in the READMEs are those that `scripts/docs/tables.py` writes."""

import runpy
from pathlib import Path

import pytest

from ppdiffusers import registry

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / "scripts" / "docs" / "tables.py"))


@pytest.mark.parametrize("language", range(len(TABLES["READMES"])))
def test_tables_are_up_to_date(language):
    text = (ROOT / TABLES["READMES"][language]).read_text(encoding="utf-8")
    assert TABLES["updated"](text, language) == text, "run: python scripts/docs/tables.py"


@pytest.mark.parametrize("language", range(len(TABLES["READMES"])))
def test_every_pipeline_and_scheduler_is_listed(language):
    text = (ROOT / TABLES["READMES"][language]).read_text(encoding="utf-8")
    missing = [entry.name for entry in registry.entries("pipeline", "scheduler") if f"`{entry.name}`" not in text]
    assert not missing


def test_every_example_belongs_to_a_pipeline():
    assert set(TABLES["examples"]()) <= {entry.name for entry in registry.entries("pipeline")}
