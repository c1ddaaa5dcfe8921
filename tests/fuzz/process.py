"""Run loaders in processes with limits, and classify what happens."""

from __future__ import annotations

import collections
import json
import logging
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers.core.errors import PPDiffusersError

SECONDS = 20  # of work, or three times as many without, until a case counts as a hang
MEMORY = 4 << 30  # bytes that a case may use
OURS, LOADED, RAW, HANG, CRASH, OUT_OF_MEMORY, CODE = (
    "our error",
    "loaded",
    "raw",
    "hang",
    "crash",
    "memory",
    "code run",
)
BAD = (RAW, HANG, CRASH, OUT_OF_MEMORY, CODE)
_LATE = (signal.SIGPROF, signal.SIGALRM)
# Events of Python's audit hooks that a loader never has reason to cause.
_CODE_EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")


@dataclass(frozen=True)
class Outcome:
    """What a case did: its class, and the error's type, place and message."""

    case: str
    kind: str
    detail: str = ""


def run_cases(cases: Iterable[str], action: Callable[[str, Path], object], workplace: Path) -> Iterator[Outcome]:
    """Run `action(case, empty folder)` for each case in a forked process with limits; yield the outcomes in order.

    A process runs one case after the other; after a hang or a crash a new one continues behind it.
    """
    waiting = collections.deque(cases)
    while waiting:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run_in_child(list(waiting), action, workplace, writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                yield Outcome(*json.loads(line))
                waiting.popleft()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if waiting and status != 0:
            kind = HANG if -status in _LATE else OUT_OF_MEMORY if status == -signal.SIGKILL else CRASH
            yield Outcome(waiting.popleft(), kind, f"exit code {status}")
        elif waiting:
            raise RuntimeError("the process ended before all cases were run")


def _run_in_child(cases: list[str], action: Callable[[str, Path], object], workplace: Path, writing: int) -> None:
    status = 1
    try:
        for number in _LATE:
            signal.signal(number, signal.SIG_DFL)  # ends the process, whatever it is doing
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        events: list[str] = []
        sys.addaudithook(lambda event, _: events.append(event) if event.startswith(_CODE_EVENTS) else None)
        with os.fdopen(writing, "w", encoding="utf-8") as lines:
            for case in cases:
                folder = workplace / "case"
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                _set_timers(SECONDS)
                kind, detail = _classify(action, case, folder)
                _set_timers(0)
                if events:
                    kind, detail = CODE, events.pop()
                lines.write(json.dumps([case, kind, detail]) + "\n")
                lines.flush()
        status = 0
    finally:
        os._exit(status)


def _set_timers(seconds: float) -> None:
    """Limit the time that the processor works for this process, and the time that passes; 0 for no limits."""
    signal.setitimer(signal.ITIMER_PROF, seconds)  # other processes may occupy the processor
    signal.setitimer(signal.ITIMER_REAL, 3 * seconds)


def _classify(action: Callable[[str, Path], object], case: str, folder: Path) -> tuple[str, str]:
    try:
        action(case, folder)
    except PPDiffusersError as error:
        cause: BaseException | None = error
        while cause is not None:  # a limit must refuse the size, not the system
            if isinstance(cause, MemoryError):
                return OUT_OF_MEMORY, _place(cause)
            cause = cause.__cause__
        return OURS, f"{type(error).__name__}: {error}"[:2000]
    except MemoryError as error:
        return OUT_OF_MEMORY, _place(error)
    except Exception as error:  # this is what the fuzzer looks for
        return RAW, _place(error)
    return LOADED, ""


def _place(error: BaseException) -> str:
    """Return the type and message of an error, and the last line of our package that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/ppdiffusers/" in frame.filename] or frames
    last = ours[-1]
    where = f"{last.filename.split('/ppdiffusers/')[-1]}:{last.lineno} {last.name}"
    return f"{type(error).__name__} at {where}: {str(error)[:200]}"


def table(outcomes: Iterable[Outcome], started: float) -> str:
    """Return the numbers of outcomes by class and by kind of file, and the bad ones grouped by place."""
    outcomes = list(outcomes)
    kinds = (OURS, LOADED, *BAD)
    groups: dict[str, collections.Counter[str]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.case.rpartition("#")[0], collections.Counter())[outcome.kind] += 1
    lines = [f"{'file':34}" + "".join(f"{kind:>11}" for kind in kinds)]
    totals: collections.Counter[str] = collections.Counter()
    for group, counts in sorted(groups.items()):
        totals += counts
        lines.append(f"{group:34}" + "".join(f"{counts[kind]:>11}" for kind in kinds))
    lines.append(f"{'all':34}" + "".join(f"{totals[kind]:>11}" for kind in kinds))
    bad = [outcome for outcome in outcomes if outcome.kind in BAD]
    places: dict[str, list[Outcome]] = {}
    for outcome in bad:
        places.setdefault(f"{outcome.kind}: {outcome.detail.split(': ')[0]}", []).append(outcome)
    for place, found in sorted(places.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(found):5} {place}   e.g. {found[0].case}  {found[0].detail.partition(': ')[2][:160]}")
    seconds = time.monotonic() - started
    lines.append(f"{len(outcomes)} cases in {seconds:.0f} s")
    return "\n".join(lines)
