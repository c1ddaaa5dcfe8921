"""Utilities of training and inference scripts: frames to files, images, deprecations, versions, optional packages."""

import logging as standard_logging
import sys
import types

import numpy as np
import paddle
import PIL.Image
import pytest
import torch
from diffusers.utils import pil_utils as original

from ppdiffusers import utils
from ppdiffusers.core.errors import InputError, MissingDependencyError
from ppdiffusers.utils import import_utils, logging


@pytest.fixture
def frames():
    random = np.random.default_rng(0)
    return [PIL.Image.fromarray(random.integers(0, 256, (16, 24, 3), dtype=np.uint8)) for _ in range(3)]


# -- frames and images ------------------------------------------------------------------------------------------------


def test_export_to_gif(frames, tmp_path):
    path = utils.export_to_gif(frames, tmp_path / "out.gif", fps=5)
    with PIL.Image.open(path) as animation:
        assert (animation.n_frames, animation.size, animation.info["duration"]) == (3, (24, 16), 200)
        assert animation.info["loop"] == 0


def test_export_to_gif_into_a_temporary_file(frames):
    path = utils.export_to_gif(frames)
    with PIL.Image.open(path) as animation:
        assert animation.n_frames == 3


def fake_imageio(monkeypatch):
    """A module with imageio's writer, which records what it is given."""
    written = types.SimpleNamespace(frames=[])

    class Writer:
        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def append_data(self, frame):
            written.frames.append(frame)

    def get_writer(path, **settings):
        written.path, written.settings = path, settings
        return Writer()

    for name, attributes in (("imageio", {"get_writer": get_writer}), ("imageio_ffmpeg", {})):
        module = types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace()  # what find_spec returns for a loaded module
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    return written


def test_export_to_video(frames, tmp_path, monkeypatch):
    written = fake_imageio(monkeypatch)
    path = utils.export_to_video(frames, tmp_path / "out.mp4", fps=8)
    assert written.path == path and written.settings == {
        **{"fps": 8, "quality": 5.0, "bitrate": None, "macro_block_size": 16}
    }
    assert all(np.array_equal(one, np.asarray(two)) for one, two in zip(written.frames, frames, strict=True))
    written.frames.clear()
    utils.export_to_video([np.full((4, 4, 3), 0.5, np.float32)], tmp_path / "out.mp4")
    assert written.frames[0].dtype == np.uint8 and written.frames[0].max() == 127


def test_export_to_video_names_the_package_that_is_missing(frames, monkeypatch):
    for name in ("imageio", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("ppdiffusers.utils.export_utils.available", lambda name: False)
    with pytest.raises(MissingDependencyError, match="pip install imageio"):
        utils.export_to_video(frames)


def test_nothing_to_export():
    for export in (utils.export_to_gif, utils.export_to_video):
        with pytest.raises(InputError, match="at least one frame"):
            export([])


def test_tensors_to_images_are_those_of_diffusers():
    values = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 3, 5, 4)).astype(np.float32)
    ours, theirs = utils.pd_to_pil(paddle.to_tensor(values)), original.pt_to_pil(torch.tensor(values))
    assert all(np.array_equal(np.asarray(one), np.asarray(two)) for one, two in zip(ours, theirs, strict=True))
    assert original.PIL_INTERPOLATION == utils.PIL_INTERPOLATION


# -- deprecations, docstrings, versions -------------------------------------------------------------------------------


def test_deprecate_returns_the_value_and_warns():
    kwargs = {"old": 3}
    with pytest.warns(FutureWarning, match="The `old` argument is deprecated and will be removed in version 99.0"):
        assert utils.deprecate("old", "99.0", "Use new.", take_from=kwargs) == 3
    assert kwargs == {}
    with pytest.warns(FutureWarning, match="^Use new.$"):
        assert utils.deprecate("thing", "99.0", "Use new.", standard_warn=False) is None


def test_deprecate_several():
    with pytest.warns(FutureWarning):
        values = utils.deprecate(("a", "99.0", "A."), ("b", "99.0", "B."), take_from={"a": 1, "b": 2})
    assert values == (1, 2)


def test_deprecate_refuses_other_arguments_and_old_versions():
    with pytest.raises(TypeError, match="unexpected keyword argument `other`"):
        utils.deprecate("old", "99.0", "Use new.", take_from={"other": 1})
    with pytest.raises(ValueError, match="Remove the deprecation"):
        utils.deprecate("old", "0.1", "Use new.")
    own: dict = {"__name__": "ppdiffusers.something", "deprecate": utils.deprecate}
    with pytest.raises(ValueError, match="Remove the deprecation"):
        exec('deprecate("old", "1.0.0", "Use new.")', own)


def test_scripts_count_versions_of_diffusers():
    """What a pipeline of diffusers' community removes in 1.0.0 is not due, although this is ppdiffusers 1.0.0."""
    with pytest.warns(FutureWarning, match=r"removed in version 1\.0\.0"):
        utils.deprecate("_encode_prompt()", "1.0.0", "Use encode_prompt.")


def test_replace_example_docstring():
    @utils.replace_example_docstring("Examples:\n    >>> 1")
    def function():
        """Do it.

        Examples:

        Returns: nothing.
        """

    assert ">>> 1" in function.__doc__ and "Returns: nothing." in function.__doc__
    with pytest.raises(ValueError, match="no line `Examples:`"):
        utils.replace_example_docstring("x")(lambda: None)


def test_versions():
    utils.check_min_version("0.29.0")
    with pytest.raises(ImportError, match="requires ppdiffusers 99.0"):
        utils.check_min_version("99.0")
    assert utils.is_transformers_version(">=", "4.0") and not utils.is_transformers_version("<", "4.0")
    assert utils.is_paddle_version(">=", "3.0"), "by the name of the module, whose package is paddlepaddle"
    with pytest.raises(ValueError, match="Unknown comparison"):
        utils.compare_versions("numpy", "~=", "1.0")


def test_optional_packages():
    assert utils.is_torch_available() and not utils.is_ppxformers_available() and not utils.is_note_seq_available()
    assert not utils.is_note_seq_version(">=", "0")
    with pytest.raises(MissingDependencyError, match="- note_seq"):
        import_utils.requires_backends(test_versions, ["torch", "note_seq"])


def test_str2bool():
    assert utils.str2bool("Yes") and not utils.str2bool(False)
    with pytest.raises(ValueError, match="neither true nor false"):
        utils.str2bool("maybe")


# -- logging ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def logger():
    """The library's logger, as it was before the test."""
    logger = logging.get_logger()
    level, handlers, propagate = logger.level, list(logger.handlers), logger.propagate
    yield logger
    logger.setLevel(level)
    logger.handlers[:], logger.propagate = handlers, propagate


def test_verbosity_shows_messages_without_any_configuration(logger, capsys, monkeypatch):
    monkeypatch.setattr(standard_logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging, "_default_handler", None)
    logging.set_verbosity_info()
    logging.get_logger("ppdiffusers.somewhere").info("loaded")
    assert capsys.readouterr().err == "loaded\n" and logging.get_verbosity() == logging.INFO
    logging.disable_default_handler()
    assert logger.handlers == []


def test_an_application_that_configures_logging_gets_messages_once(logger, monkeypatch):
    handler = standard_logging.NullHandler()
    monkeypatch.setattr(standard_logging.getLogger(), "handlers", [handler])
    logging.set_verbosity_debug()
    assert logger.handlers == []


def test_handlers_and_propagation(logger):
    handler = standard_logging.StreamHandler()
    logging.add_handler(handler)
    logging.enable_explicit_format()
    assert handler in logger.handlers and "levelname" in handler.formatter._fmt
    logging.reset_format()
    logging.remove_handler(handler)
    assert handler.formatter is None and handler not in logger.handlers
    logging.disable_propagation()
    assert not logger.propagate
    logging.enable_propagation()
    assert logger.propagate


def test_progress_bar_switch():
    assert logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.enable_progress_bar()
