"""Exit codes of commands, and errors as one message on stderr instead of a traceback."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from ppdiffusers.core.errors import PPDiffusersError

INTERRUPTED = 130  # 128 + SIGINT, as in shells


def run(action: Callable[[argparse.Namespace], int | None], arguments: argparse.Namespace) -> int:
    """Call `action(arguments)` and return its exit code or 0.

    Returns 1 after a PPDiffusersError, and 130 after Ctrl-C or SIGTERM.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM cleans up too
    try:
        return action(arguments) or 0
    except PPDiffusersError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        message = getattr(arguments, "interrupted", "Interrupted; nothing was written.")
        print(f"\n{message}", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
