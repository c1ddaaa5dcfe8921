"""The table of public names: what reads it, and a class that is added with one row."""

from __future__ import annotations

import pytest

import ppdiffusers.transformers
from ppdiffusers import registry


def test_every_row_imports_and_is_exported():
    for entry in registry.entries():
        found = entry.load()
        home = ppdiffusers.transformers if entry.library == "transformers" else ppdiffusers
        assert getattr(home, entry.name, None) is (found if entry.exported or home is not ppdiffusers else None)


def test_names_are_unique():
    names = [entry.name for entry in registry._ROWS]
    assert len(names) == len(set(names))


def test_every_original_exists():
    for entry in registry.components().values():
        assert entry.original().__name__ in (entry.name, entry.name.replace("FeatureExtractor", "ImageProcessor"))


def test_a_row_of_ppdiffusers_cannot_be_replaced_or_removed():
    with pytest.raises(ValueError, match="registered already"):
        registry.register(registry.Entry("UNet2DModel", "elsewhere", "model"))
    with pytest.raises(ValueError, match="not added"):
        registry.unregister("UNet2DModel")
    with pytest.raises(ValueError, match="not added"):
        registry.unregister("NoSuchModel")
