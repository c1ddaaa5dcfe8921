"""Mutated files of every kind load or are refused by one of our errors: no other error, hang, crash, or run code.

`make fuzz` does the same for an hour, with other mutations.
"""

import os
import signal
import time

import numpy as np
import pytest

from ppdiffusers.core.errors import ConfigError
from tests.fuzz import process
from tests.fuzz.corpus import make_targets
from tests.fuzz.mutations import HOSTILE
from tests.fuzz.process import BAD, CODE, CRASH, HANG, LOADED, OURS, OUT_OF_MEMORY, RAW, run_cases, table

CASES = 8  # mutations of each file


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return make_targets(tmp_path_factory.mktemp("corpus"))


def test_mutated_files(targets, tmp_path):
    def run(case, folder):
        number, seed = map(int, case.split("#")[1].split(":"))
        targets[number].run(seed, folder)

    started = time.monotonic()
    cases = [f"{target.name}#{n}:{seed}" for seed in range(CASES) for n, target in enumerate(targets)]
    outcomes = list(run_cases(cases, run, tmp_path))
    report = table(outcomes, started)
    assert [outcome.case for outcome in outcomes] == cases
    assert not [outcome for outcome in outcomes if outcome.kind in BAD], report
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count(OURS) > len(cases) / 3 and kinds.count(LOADED) > len(cases) / 10, report


def test_other_things_than_files(targets, tmp_path):
    """A folder, a pipe, a link or a device in place of a file is refused, and is not read."""
    chosen = {target.name: target for target in targets if target.hostile}

    def run(case, folder):
        name, _, kind = case.partition("#")
        return chosen[name].run_with(HOSTILE[kind], folder)

    started = time.monotonic()
    outcomes = list(run_cases([f"{name}#{kind}" for name in chosen for kind in HOSTILE], run, tmp_path))
    report = table(outcomes, started)
    assert not [outcome for outcome in outcomes if outcome.kind in BAD], report
    required = [
        outcome for outcome in outcomes if outcome.case.startswith(("config ", "model_index", "weights: s", "LoRA"))
    ]
    assert len(required) > 100 and {outcome.kind for outcome in required} == {OURS}, report


ACTIONS = {
    "loads": (LOADED, lambda: None),
    "ours": (OURS, lambda: (_ for _ in ()).throw(ConfigError("no"))),
    "raw": (RAW, lambda: {}["a"]),
    "hangs": (HANG, lambda: time.sleep(60)),
    "loops": (HANG, lambda: [None for _ in iter(int, 1)]),
    "ends": (CRASH, lambda: os._exit(3)),
    "crashes": (CRASH, lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "takes all memory": (OUT_OF_MEMORY, lambda: np.ones(10**12)),
    "runs code": (CODE, lambda: os.system("true")),
    "loads again": (LOADED, lambda: None),
}


def test_the_outcomes_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SECONDS", 1)
    outcomes = list(run_cases(ACTIONS, lambda case, folder: ACTIONS[case][1](), tmp_path))
    assert {outcome.case: outcome.kind for outcome in outcomes} == {case: kind for case, (kind, _) in ACTIONS.items()}
