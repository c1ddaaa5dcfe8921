"""An interrupted write leaves the previous content and no temporary files."""

import os

import pytest

from ppdiffusers.core.files import replace_file, replace_folder


def test_file_is_replaced(tmp_path):
    path = tmp_path / "deep" / "weights"
    for content in ("one", "two"):
        with replace_file(path) as staging:
            staging.write_text(content)
        assert path.read_text() == content
    assert os.listdir(path.parent) == ["weights"]


def test_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replace_file(path) as staging:
        staging.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["weights"]


def test_folder_is_replaced(tmp_path):
    path = tmp_path / "model"
    for content in ("one", "two"):
        with replace_folder(path) as staging:
            (staging / content).write_text(content)
        assert os.listdir(path) == [content]
    assert os.listdir(tmp_path) == ["model"]


def test_interrupted_folder_leaves_the_old_one(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="full"), replace_folder(path) as staging:
        (staging / "new").touch()
        raise OSError("disk full")
    assert os.listdir(path) == ["old"] and os.listdir(tmp_path) == ["model"]


def test_modes_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        with replace_file(tmp_path / "file") as staging:
            staging.write_text("x")
        with replace_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755
