"""Reading parts of a file that must not change after it was opened.

Plain seek and read. With a memory map, a file that is truncated while it is read would kill the interpreter (SIGBUS),
and the mapped pages would count as resident memory of the process.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ppdiffusers.core.errors import WeightsError


class CheckedFile:
    """A weights file whose tensors are read later; a change of the file between the two is an error.

    Attributes:
        path: the file.
        size: its bytes when it was opened.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        status = os.stat(self.path)
        self.size = status.st_size
        self._version = _version(status)

    def read(self, offset: int, count: int) -> np.ndarray:
        """Read `count` bytes from `offset` into a new array of uint8.

        Raises:
            WeightsError: the file was changed, replaced or removed after it was opened.
        """
        return self.read_into(offset, np.empty(count, np.uint8))

    def read_into(self, offset: int, array: np.ndarray) -> np.ndarray:
        """Fill the contiguous `array` with the bytes from `offset` on, and return it.

        Raises:
            WeightsError: the file was changed, replaced or removed after it was opened.
        """
        view = array.reshape(-1).view(np.uint8).data
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(offset)
                while len(view) and (count := file.readinto(view)):
                    view = view[count:]
                version = _version(os.fstat(file.fileno()))  # after reading: a change during it counts too
        except FileNotFoundError as error:
            raise self._changed("it does not exist any more") from error
        if version != self._version:
            raise self._changed(f"{self._version[0]} bytes when it was opened, {version[0]} bytes now")
        if len(view):
            raise WeightsError("The weights file ends too early.", where=self.path, remedy="download it again.")
        return array

    def _changed(self, how: str) -> WeightsError:
        return WeightsError(
            "The weights file changed after it was opened.",
            where=self.path,
            problems=[how],
            remedy="load it again when no other program writes to it.",
        )


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
