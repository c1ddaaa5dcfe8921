"""Processes that are killed at a chosen file system operation, or that have a full disk."""

import ctypes
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


# -- commands ---------------------------------------------------------------------------------------------------------


def run_command(
    arguments: list[str],
    folder: Path,
    *,
    prepare: Callable[[], object] = lambda: None,
    output: Path | int | None = None,
    encoding: str = "utf-8",
) -> tuple[int, str, str]:
    """Run a command in a forked process, after `prepare`; return its exit code, output and errors.

    Args:
        folder: where output and errors are stored.
        output: a file or a descriptor to write the output to.
        encoding: of the output.
    """
    from ppdiffusers.cli.main import main

    files = [folder / "stdout" if output is None else output, folder / "stderr"]

    def command() -> None:
        for descriptor, file in zip((1, 2), files):
            opened = file if isinstance(file, int) else os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, descriptor)
        sys.stdout = open(1, "w", encoding=encoding, errors="strict", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
        prepare()
        os._exit(main(arguments))  # as `sys.exit`, without the end of pytest

    status = _fork(command)
    assert os.WIFEXITED(status), status
    printed = (folder / "stdout").read_text(encoding) if output is None else ""
    return os.WEXITSTATUS(status), printed, (folder / "stderr").read_text(encoding)


_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000  # flags of unshare(2)
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18  # flags of mount(2)


def become_small_disk(folder: Path, size: int) -> None:
    """In a forked process: let a folder be an empty disk of `size` bytes; without permission for that, limit files."""
    if not _private_mounts() or _mount("tmpfs", folder, "tmpfs", 0, f"size={size}"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def become_read_only(folder: Path) -> None:
    """In a forked process: let a folder be on a read-only disk; without permission for that, forbid writing."""
    if _private_mounts() and not _mount(folder, folder, None, _BIND):
        assert not _mount(None, folder, None, _BIND | _REMOUNT | _READ_ONLY)
    elif os.geteuid() == 0:
        os.seteuid(65534)  # root may write anywhere
    else:
        folder.chmod(0o555)


def _private_mounts() -> bool:
    """Let this process have mounts of its own; return whether that is permitted."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None)
    if libc.unshare(_NEW_MOUNTS | (_NEW_USER if user else 0)):
        return False
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return not _mount("none", "/", None, _RECURSIVE | _PRIVATE)


def _mount(source: object, target: object, kind: str | None, flags: int, options: str | None = None) -> int:
    texts = [None if text is None else os.fsencode(str(text)) for text in (source, target, kind, options)]
    return ctypes.CDLL(None).mount(*texts[:3], ctypes.c_ulong(flags), texts[3])
