"""Turns of networks: threads that share a network use it one after the other.

Compiling a network replaces its parameters for a moment, and a compiled program has one set of buffers. Calls of such
a network therefore take turns. Networks that share layers take turns, too.

The locks are stored here and not in the layers, which can be copied and pickled.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from paddle import nn

from ppdiffusers.runtime.snapshot import sublayers

_numbers = itertools.count()


class _Lock:
    """A lock and its position in the order in which a thread acquires several locks."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.lock = threading.RLock()


# The lock of each layer: that of the first network that contains it and was called.
_lock_of: WeakKeyDictionary[nn.Layer, _Lock] = WeakKeyDictionary()
# The locks of all layers of a network, in order.
_locks_of: WeakKeyDictionary[nn.Layer, list[_Lock]] = WeakKeyDictionary()
_tables = threading.Lock()


@contextlib.contextmanager
def network_turn(network: nn.Layer) -> Iterator[None]:
    """Wait until no other thread uses the network or one of its layers, and keep it for the block.

    A part of a network has no locks that the network does not have, so a thread that calls a compiled part within a
    call of the whole does not wait.
    """
    with contextlib.ExitStack() as stack:
        for each in _locks(network):
            stack.enter_context(each.lock)
        yield


def _locks(network: nn.Layer) -> list[_Lock]:
    with _tables:
        if network not in _locks_of:
            new, layers = _Lock(), sublayers(network)
            found = {_lock_of.setdefault(layer, new) for layer in layers}
            _locks_of[network] = sorted(found, key=lambda each: each.number)
        return _locks_of[network]
