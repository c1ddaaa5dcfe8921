"""Exit codes of commands, and errors as one message on stderr instead of a traceback."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ppdiffusers.core.errors import PPDiffusersError, SourceError

INTERRUPTED = 130  # 128 + SIGINT, as in shells
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def run(action: Callable[[argparse.Namespace], int | None], arguments: argparse.Namespace) -> int:
    """Call `action(arguments)` and return its exit code or 0.

    Returns 1 after a PPDiffusersError or an error of the system, and 130 after Ctrl-C or SIGTERM.
    """
    with _any_character_printable(sys.stdout), _any_character_printable(sys.stderr):
        return _run(action, arguments)


def _run(action: Callable[[argparse.Namespace], int | None], arguments: argparse.Namespace) -> int:
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM cleans up too
    try:
        code = action(arguments) or 0
        sys.stdout.flush()  # the output is written here and not at exit: to a full disk, for one
        return code
    except PPDiffusersError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output has ended: `ppdiffusers cache ls | head -1`
        return 1
    except (OSError, UnicodeError, MemoryError) as error:
        print(f"error: {system_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        message = getattr(arguments, "interrupted", "Interrupted; nothing was written.")
        print(f"\n{message}", file=sys.stderr)
        return INTERRUPTED
    finally:
        _flush_or_discard_output()
        signal.signal(signal.SIGTERM, previous)


def system_error(error: OSError | UnicodeError | MemoryError) -> PPDiffusersError:
    """Return an error that says what to do about a full disk, a permission, an encoding, or too little memory."""
    if isinstance(error, MemoryError):
        return PPDiffusersError("There is too little memory.", remedy="close other programs, or use smaller weights.")
    if isinstance(error, UnicodeError):
        return PPDiffusersError(
            "A text or a file name has characters that its encoding does not have.",
            problems=[ascii(str(error))[1:-1]],
            remedy="set PYTHONUTF8=1, or check the encoding of the file.",
        )
    where, reason = error.filename, error.strerror or str(error)
    if error.errno in _FULL:
        remedy = "free some space (`ppdiffusers cache ls`), or choose another disk (PPDIFFUSERS_CACHE)."
        return SourceError(f"The disk is full: {reason}.", where=where, remedy=remedy)
    if error.errno in _REFUSED:
        remedy = "check the permissions, or choose another folder (PPDIFFUSERS_CACHE for models and programs)."
        return SourceError(f"A file or folder cannot be read or written: {reason}.", where=where, remedy=remedy)
    return SourceError(f"The system refused an operation: {reason}.", where=where, remedy="check the paths.")


@contextmanager
def _any_character_printable(output: TextIO) -> Iterator[None]:
    """Escape characters that the encoding of an output does not have, in place of an error."""
    if not isinstance(output, io.TextIOWrapper):
        yield
        return
    before = output.errors
    output.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        output.reconfigure(errors=before)


def _flush_or_discard_output() -> None:
    """Drop what cannot be written: the interpreter would try again at its end, and fail."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # a file in memory has no descriptor
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)
