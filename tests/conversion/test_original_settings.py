"""Configurations of original repositories: every file format, and errors that list all problems."""

from __future__ import annotations

import json

import pytest

from ppdiffusers.convert.checkpoints.settings import Settings, read_settings
from ppdiffusers.core.errors import ConfigError


def test_file_formats(tmp_path):
    (tmp_path / "a.yaml").write_text("model:\n  ch: 32\n  ch_mult: [1, 2]\n  name: simple\n  fir: true\n")
    (tmp_path / "a.json").write_text(
        json.dumps({"model": {"ch": 32, "ch_mult": [1, 2], "name": "simple", "fir": True}})
    )
    (tmp_path / "a.sh").write_text(
        'MODEL_FLAGS="--model.ch 32"\n# nothing\npython run.py --ch 32 --ch_mult=1,2 --name simple --fir True\n'
    )
    for name in ("a.yaml", "a.json", "a.sh"):
        settings = read_settings(tmp_path / name)
        section = settings if name == "a.sh" else settings.section("model.")
        assert section.integer("ch") == 32
        assert section.integers("ch_mult") == [1, 2]
        assert section.text("name") == "simple"
        assert section.boolean("fir") is True
        settings.raise_problems(sections=[""])


def test_overrides(tmp_path):
    (tmp_path / "a.yaml").write_text("model: {ch: 32, beta: 1.0e-4}\n")
    settings = read_settings(
        tmp_path / "a.yaml", ["model.ch=64", "model.mult=1,2,4", "model.rate=1e-4", "size=[8, 16]"]
    )
    assert settings.integer("model.ch") == 64
    assert settings.number("model.beta") == settings.number("model.rate") == 1e-4
    assert settings.integers("model.mult") == [1, 2, 4]
    assert settings.integers("size") == [8, 16]
    assert read_settings({"a": {"b": 3}}).integer("a.b") == 3


def test_python_tags_create_no_objects(tmp_path):
    """ddim dumps a namespace, ml_collections dictionaries; both contain plain values."""
    (tmp_path / "a.yml").write_text(
        "!!python/object:argparse.Namespace\n"
        "model: !!python/object:argparse.Namespace\n  ch: 32\n  mult: !!python/tuple [1, 2]\n"
        "device: !!python/object/apply:os.system ['echo no']\n"
    )
    settings = read_settings(tmp_path / "a.yml")
    assert settings.integer("model.ch") == 32
    assert settings.integers("model.mult") == [1, 2]
    assert settings.values["device"] == ["echo no"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1]", "contains no values"),
        ("a.yaml", "a: [1", "not valid YAML"),
        ("a.yaml", "just words", "contains no values"),
        ("a.txt", "no flags here", "contains no values"),
        ("a.yaml", None, "cannot be read"),
    ],
)
def test_files_without_a_configuration(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_settings(tmp_path / name)


def test_overrides_without_a_name():
    with pytest.raises(ConfigError, match="no name"):
        read_settings(None, ["=3", "a"])
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_settings(None, ["a=[1"])


def test_unused_overrides_are_errors():
    settings = read_settings({"training": {"lr": 0.1}, "size": 3}, ["model.sise=4"])
    assert settings.integer("size") == 3
    with pytest.raises(ConfigError) as error:
        settings.raise_problems()
    assert error.value.problems == ["model.sise is unknown (its value is 4)"]
    renamed = read_settings(None, ["model.size=4", "sise=5"]).renamed({"model.size": "size"})
    assert renamed.integer("size") == 4
    with pytest.raises(ConfigError) as error:
        renamed.raise_problems()
    assert error.value.problems == ["sise is unknown (its value is 5)"]


def test_one_error_lists_all_problems():
    settings = Settings(
        {"a": "x", "b": 1.5, "c": "maybe", "d": "1,two", "kind": "other", "flag": 0, "left": 3, "no": 4}
    )
    assert settings.integer("a") == settings.integer("b") == 1
    assert settings.boolean("c") is False
    assert settings.integers("d") == [1]
    assert settings.number("absent") == 1.0
    assert settings.expect("kind", "this", "that") == "this"
    assert settings.expect("flag", True) is True
    assert settings.number("optional", 0.5) == 0.5
    settings.add_problem("something else")
    with pytest.raises(ConfigError) as error:
        settings.raise_problems(sections=[""], ignored=["no"])
    found = error.value.problems
    assert len(found) == 9
    for word in ("a is 'x'", "b is 1.5", "c is 'maybe'", "d is '1,two'", "absent is missing", "kind is 'other'"):
        assert any(problem.startswith(word) for problem in found), word
    assert any("flag is False" in problem for problem in found)
    assert "something else" in found
    assert any("left is unknown" in problem for problem in found)
