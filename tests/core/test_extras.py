"""Optional packages: the error names the package, the reason and the install command."""

import sys

import pytest

from ppdiffusers.core.errors import MissingDependencyError, SourceError
from ppdiffusers.core.extras import available, need


def test_present_package_is_returned():
    assert need("json.decoder", "to read") is sys.modules["json.decoder"]
    assert available("json") and not available("no_such_package_here")


def test_missing_package_is_explained():
    with pytest.raises(MissingDependencyError) as error:
        need("no_such_package_here.part", "to plot")
    assert "`no_such_package_here` is needed to plot" in str(error.value)
    assert "pip install no_such_package_here" in str(error.value)


def test_a_broken_package_is_not_reported_as_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import something_it_lacks\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="something_it_lacks") as error:
        need("broken_package", "to plot")
    assert not isinstance(error.value, MissingDependencyError)


def test_messages_have_all_parts():
    error = SourceError("Nothing found.", where="a/b", problems=["x", "y"], expected="a folder", remedy="look")
    for part in ("Nothing found.", "where: a/b", "- x", "- y", "expected: a folder", "what to do: look"):
        assert part in str(error)
