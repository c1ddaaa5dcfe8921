"""Tiny pipelines as folders and single files, written once."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.support.single_files import original_tensors, tiny_pipeline, write_single_file


@pytest.fixture(scope="session")
def single_files(tmp_path_factory: pytest.TempPathFactory):
    """A function: kind -> (folder in diffusers' format, single file with the original names)."""

    @functools.lru_cache
    def make(kind: str) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp(kind)
        folder = tiny_pipeline(root, kind)
        return folder, write_single_file(root / f"{kind}.safetensors", original_tensors(folder, kind))

    return make
