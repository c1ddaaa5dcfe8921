"""Pipelines of both libraries, loaded from a module's fixture `folder`; a module can override these fixtures."""

import pytest

from tests.pipelines.support import load_both, set_schedulers


@pytest.fixture(scope="module")
def loaded(folder):
    """(ours, diffusers'), loaded once for all tests of a module."""
    return load_both(folder)


@pytest.fixture
def pair(loaded):
    """The same, with the scheduler of the folder, whatever an earlier test has set."""
    set_schedulers(*loaded, "PNDMScheduler")
    return loaded
