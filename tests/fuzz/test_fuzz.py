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


ACTIONS = {
    "loads": (LOADED, lambda: None),
    "ours": (OURS, lambda: (_ for _ in ()).throw(ConfigError("no"))),
    "raw": (RAW, lambda: {}["a"]),
    "hangs": (HANG, lambda: time.sleep(60)),
    "ends": (CRASH, lambda: os._exit(3)),
    "crashes": (CRASH, lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "takes all memory": (OUT_OF_MEMORY, lambda: np.ones(10**12)),
    "runs code": (CODE, lambda: os.system("true")),
    "loads again": (LOADED, lambda: None),
}


def test_the_outcomes_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SECONDS", 2)
    outcomes = list(run_cases(ACTIONS, lambda case, folder: ACTIONS[case][1](), tmp_path))
    assert {outcome.case: outcome.kind for outcome in outcomes} == {case: kind for case, (kind, _) in ACTIONS.items()}
