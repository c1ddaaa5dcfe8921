"""Both sides' pipelines of a module's `folder`; a module with other needs has fixtures of its own by these names."""

import pytest

from tests.pipelines.support import load_both, set_schedulers


@pytest.fixture(scope="module")
def loaded(folder):
    """(ours, diffusers'), loaded once for all tests of the module."""
    return load_both(folder)


@pytest.fixture
def pair(loaded):
    """The same, with the published scheduler whatever a test before has set."""
    set_schedulers(*loaded, "PNDMScheduler")
    return loaded
