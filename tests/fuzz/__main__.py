"""`python -m tests.fuzz --cases 5000 --seed 1`: load mutated files and print what happens. `make fuzz` runs it."""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.corpus import make_targets
from tests.fuzz.process import BAD, SECONDS, run_cases, table


def main() -> int:
    """Return 1 if there are outcomes other than loading and our errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="number of the first mutation of each file")
    parser.add_argument("--cases", type=int, help="number of cases")
    parser.add_argument("--time", type=float, help="seconds (default: one hour, if --cases is not given)")
    parser.add_argument("--only", default="", help="only files whose names contain this text")
    parser.add_argument("--case", help="run one case, NAME:SEED, in this process, so that its traceback is printed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ppdiffusers-fuzz-") as folder:
        targets = {f"{n}/{target.name}": target for n, target in enumerate(make_targets(Path(folder)))}
        by_number = {name.split("/")[0]: target for name, target in targets.items()}
        if arguments.case:
            name, _, seed = arguments.case.rpartition(":")
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            by_number[name.rpartition("#")[2]].run(int(seed), Path(folder, "case"))
            return 0
        chosen = {n: target for n, target in by_number.items() if arguments.only in target.name}
        endless = (f"{t.name}#{n}:{seed}" for seed in itertools.count(arguments.seed) for n, t in chosen.items())
        cases = list(itertools.islice(endless, arguments.cases or 10_000_000 if arguments.cases else 200_000))
        limit = arguments.time or (None if arguments.cases else 3600.0)
        started, outcomes = time.monotonic(), []

        def run(case: str, place: Path) -> object:
            name, _, seed = case.rpartition(":")
            return by_number[name.rpartition("#")[2]].run(int(seed), place)

        for outcome in run_cases(cases, run, Path(folder)):
            outcomes.append(outcome)
            if limit is not None and time.monotonic() - started > limit:
                break
        print(table(outcomes, started))
    return int(any(outcome.kind in BAD for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
