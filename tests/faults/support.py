"""Processes that are killed at a chosen file system operation, or that have a full disk."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link"}


def run_killed(action: Callable[[], object], folder: Path, operation: int) -> bool:
    """Run `action` in a forked process that is killed before its n-th write to `folder`; return whether it was killed.

    Writes are counted by an audit hook, which sees every file that Python opens to write, renames or removes.
    """

    def prepare() -> None:
        count = 0

        def count_writes(event: str, arguments: tuple) -> None:
            nonlocal count
            if (event in _WRITES or event == "open" and _opens_to_write(arguments)) and _is_in(folder, arguments[0]):
                count += 1
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count_writes)

    status = _fork(lambda: (prepare(), action()))
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def fails_with_full_disk(action: Callable[[], object], size: int) -> bool:
    """Run `action` in a process that cannot write files of more than `size` bytes; return whether it raised OSError."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            action()
        except OSError as error:
            os._exit(1 if error.errno == errno.EFBIG else 2)

    status = os.WEXITSTATUS(_fork(limited))
    assert status in (0, 1)
    return status == 1


def _is_in(folder: Path, path: object) -> bool:
    return isinstance(path, (str, os.PathLike)) and str(folder) in os.path.abspath(path)


def _opens_to_write(arguments: tuple) -> bool:
    _, mode, flags = arguments
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR)) or any(letter in str(mode or "") for letter in "wax+")


def _fork(action: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        action()
    except BaseException:  # the child must not go on as a second pytest
        sys.excepthook(*sys.exc_info())
        os._exit(3)
    os._exit(0)


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files in a folder, hidden ones included: path -> content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
