"""Pickles made to hang the reader, crash the interpreter or fill the memory: refused or read, within seconds."""

import random
import time

import pytest

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.io import torch_pickle
from ppdiffusers.io.pickle_reader import BadPickle, PickledDict
from ppdiffusers.io.weights import open_weights
from tests.fuzz.pickles import BOMBS, FORMS, PROTO, make_pickle
from tests.fuzz.process import BAD, run_cases, table


def read(path) -> None:
    """Open a file and read its tensors; the message of an error has a limit."""
    try:
        for tensor in open_weights(path).values():
            tensor.read()
    except WeightsError as error:
        assert len(str(error)) < 500_000
        raise


@pytest.mark.parametrize("form", ["pdparams", "zip"])
def test_bombs(tmp_path, form):
    """Each is read or refused by a process with 20 seconds and 4 GB."""
    name, content = FORMS[form]

    def run(case, folder):
        (folder / name).write_bytes(content(BOMBS[case.rpartition("#")[0]]))
        read(folder / name)

    started = time.monotonic()
    outcomes = list(run_cases([f"{case}#{form}" for case in BOMBS], run, tmp_path))
    assert len(outcomes) == len(BOMBS)
    assert not [outcome for outcome in outcomes if outcome.kind in BAD], table(outcomes, started)


def test_generated_pickles(tmp_path):
    def run(case, folder):
        form, _, seed = case.rpartition(":")
        name, content = FORMS[form.rpartition("#")[2]]
        (folder / name).write_bytes(content(make_pickle(random.Random(seed))))
        read(folder / name)

    started = time.monotonic()
    cases = [f"pickle#{form}:{seed}" for seed in range(20) for form in FORMS]
    outcomes = list(run_cases(cases, run, tmp_path))
    assert not [outcome for outcome in outcomes if outcome.kind in BAD], table(outcomes, started)
    assert sum("names Python objects" in outcome.detail for outcome in outcomes) > 5, table(outcomes, started)


@pytest.mark.parametrize("target", ["torch\nfloat32", "torch\nFloatStorage", "collections\nOrderedDict", "torch\nSize"])
def test_a_pickle_cannot_change_what_its_globals_stand_for(tmp_path, target):
    table = dict(torch_pickle._TABLE)
    states = {name: dict(getattr(value, "__dict__", {})) for name, value in table.items()}
    path = tmp_path / "a.bin"
    for state in (b"}X\x04\x00\x00\x00nameX\x01\x00\x00\x00as", b"N}X\x04\x00\x00\x00nameNs\x86"):
        path.write_bytes(PROTO + b"c" + target.encode() + b"\n" + state + b"b.")
        with pytest.raises(WeightsError, match="a state for a"):
            open_weights(path)
    assert table == torch_pickle._TABLE
    assert states == {name: dict(getattr(value, "__dict__", {})) for name, value in table.items()}


def test_keys_of_other_types_become_unique_strings():
    made = PickledDict()
    keys = ["a", 3, -5, None, 2**59, b"b", 2.5, (1, 2), (1, 3), 2**70]
    for number, key in enumerate(keys):
        made[key] = number
    assert list(made)[:5] == keys[:5]
    assert all(isinstance(key, str) for key in list(made)[5:])
    assert list(made.values()) == list(range(len(keys)))


def test_a_key_is_given_once():
    made = PickledDict()
    made["a"] = 1
    with pytest.raises(BadPickle, match="'a' is given twice"):
        made["a"] = 2


def test_the_number_of_integer_keys_is_limited():
    made = PickledDict()
    with pytest.raises(BadPickle, match="more than 8192 items"):
        for number in range(10_000):
            made[number] = None
