"""No banned word (`words.py`) in the package, the documents and the examples, messages and comments included."""

import pytest

from tests.docs import words

PACKAGES = sorted({path.relative_to(words.ROOT).parts[1] for path in words.files(["ppdiffusers"])})
OTHERS = ("README.md", "CHANGELOG.md", "docs", "examples", "scripts")


@pytest.mark.parametrize("name", [*(f"ppdiffusers/{name}" for name in PACKAGES), *OTHERS])
def test_words(name):
    found = [finding for path in words.files([name]) for finding in words.findings(path)]
    assert not found, "\n".join(["Banned words:", *found])


def test_banned_words_are_found(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("A picture that nobody painted.\nAn inpainting mask, a 3-D representation.\n", encoding="utf-8")
    monkeypatch.setattr(words, "ROOT", tmp_path)
    assert [line.split(": ")[1].split(" (")[0] for line in words.findings(page)] == [
        "'picture'",
        "'painted'",
        "'nobody'",
    ]
