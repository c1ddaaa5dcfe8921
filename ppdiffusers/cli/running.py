"""How every command ends: an exit code, and for an expected error one message on stderr instead of a traceback."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from ppdiffusers.core.errors import PPDiffusersError

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def run(action: Callable[[argparse.Namespace], int | None], arguments: argparse.Namespace) -> int:
    """Call `action(arguments)`: the code it returns, or 0; 1 after an error of ours, 130 after Ctrl-C or SIGTERM."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that cleaning up happens there too
    try:
        return action(arguments) or 0
    except PPDiffusersError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        said = getattr(arguments, "interrupted", "interrupted: nothing was written.")
        print(f"\n{said}", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, earlier)
