"""A folder of fetched files: where it lies in the cache, its manifest, and the lock that one process holds on it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.files import cache_folder, replace_file
from ppdiffusers.io.hubs.base import Digest
from ppdiffusers.io.names import check_file_name
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

MANIFEST = "ppdiffusers-manifest.json"
CHECKSUMS = "SHA256SUMS"
PARTIAL = ".partial"  # files that are being fetched
BOOKKEEPING = frozenset((MANIFEST, CHECKSUMS))
_FORMAT = 1
_DASHES = "%2D%2D"


@dataclass(frozen=True)
class FileRecord:
    """A file as it was fetched: bytes, SHA-256 of what was written, where from, the source's own checksum of it."""

    size: int
    sha256: str
    url: str
    digest: str | None = None


class Snapshot:
    """A folder of fetched files and what is known about them.

    Attributes:
        folder: with the files as they lie in the model.
        source, model, revision, commit: where they are from.
        files: path -> record, of those that are there.
        absent: paths that the source was asked for and does not have.
        unfinished: paths that a download was to fetch and has not.
    """

    def __init__(self, folder: Path, source: str, model: str, revision: str, commit: str | None = None):
        self.folder, self.source, self.model, self.revision, self.commit = folder, source, model, revision, commit
        self.files: dict[str, FileRecord] = {}
        self.absent: set[str] = set()
        self.unfinished: set[str] = set()
        self._writing = threading.Lock()

    @classmethod
    def load(cls, folder: Path) -> Snapshot | None:
        """What the manifest of a folder says; None if it has none.

        Raises:
            SourceError: the manifest is damaged.
        """
        if not (folder / MANIFEST).is_file():
            return None
        try:
            raw = read_json(folder / MANIFEST)
            made = cls(folder, raw["source"], raw["model"], raw["revision"], raw["commit"])
            made.files = {
                check_file_name(path, folder / MANIFEST): FileRecord(**entry) for path, entry in raw["files"].items()
            }
            made.absent, made.unfinished = set(raw["absent"]), set(raw["unfinished"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                "The manifest of this folder is damaged.",
                where=folder / MANIFEST,
                problems=[str(error)],
                remedy="remove the folder and download the model again.",
            ) from error
        return made

    def has(self, path: str) -> bool:
        """Whether this file is there, with the size that was fetched."""
        record = self.files.get(path)
        try:
            return record is not None and (self.folder / path).stat().st_size == record.size
        except OSError:
            return False

    def record(self, path: str, record: FileRecord) -> None:
        """Note that a file is there, at once: a process that is killed loses nothing."""
        with self._writing:
            self.files[path] = record
            self.unfinished.discard(path)
            self.save()

    def save(self) -> None:
        """Write manifest and checksums."""
        value: dict[str, Any] = {"format": _FORMAT}
        value |= {"source": self.source, "model": self.model, "revision": self.revision, "commit": self.commit}
        value["files"] = {path: asdict(record) for path, record in sorted(self.files.items())}
        value |= {"absent": sorted(self.absent), "unfinished": sorted(self.unfinished)}
        with replace_file(self.folder / MANIFEST) as staging:
            staging.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with replace_file(self.folder / CHECKSUMS) as staging:
            lines = [f"{record.sha256}  {path}\n" for path, record in sorted(self.files.items())]
            staging.write_text("".join(lines), encoding="utf-8")

    def sweep(self) -> None:
        """Remove what a process that was killed while it wrote manifest or checksums left beside them."""
        for name in BOOKKEEPING:
            for path in self.folder.glob(f".{name}.*.part"):
                path.unlink(missing_ok=True)

    def damaged(self, progress: Callable[[int], None] = lambda count: None) -> list[str]:
        """Read every file again: those that are missing or have other content, and how."""
        problems = []
        for path, record in sorted(self.files.items()):
            file = self.folder / path
            if not file.is_file():
                problems.append(f"{path}: not there")
            elif file.stat().st_size != record.size:
                problems.append(f"{path}: {file.stat().st_size} bytes, expected {record.size}")
            elif digest_of(file, "sha256", progress) != record.sha256:
                problems.append(f"{path}: its content has changed")
        return problems


def cache_root(cache_dir: str | os.PathLike | None = None) -> Path:
    """The folder of all fetched models: `hub` in `cache_dir`, or in `core.files.cache_folder()`."""
    return (Path(cache_dir).expanduser() if cache_dir else cache_folder()) / "hub"


def snapshot_folder(root: Path, source: str, model: str, revision: str) -> Path:
    """Where in the cache the files of a model lie. Names have been checked: none of them leads out of it."""
    return root / source / _as_folder(model) / _as_folder(revision)


def name_of_folder(folder_name: str) -> str:
    """The model or revision whose files lie in a folder of this name."""
    return folder_name.replace("--", "/").replace(_DASHES, "--")


def _as_folder(name: str) -> str:
    return name.replace("--", _DASHES).replace("/", "--")  # no two names are one folder


@contextmanager
def locked(folder: Path, lock_file: Path | None = None) -> Iterator[None]:
    """Hold the lock of a folder; another process that wants it waits. It goes with the process that holds it.

    Args:
        lock_file: instead of one beside the folder.
    """
    from filelock import FileLock, Timeout

    lock_file = lock_file or folder.with_name(f".{folder.name}.lock")
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is downloading into %s; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def digest_of(path: Path, algorithm: str, progress: Callable[[int], None] = lambda count: None) -> str:
    """The checksum of a file, in hex."""
    return digests_of(path, (algorithm,), progress)[algorithm]


def digests_of(
    path: Path, algorithms: tuple[str, ...], progress: Callable[[int], None] = lambda count: None
) -> dict[str, str]:
    """Several checksums of a file, read once: "sha256", "md5", "git-sha1"."""
    makers = {name: hashlib.new(name.removeprefix("git-"), usedforsecurity=False) for name in set(algorithms)}
    if "git-sha1" in makers:  # git hashes a header too
        makers["git-sha1"].update(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            for maker in makers.values():
                maker.update(chunk)
            progress(len(chunk))
    return {name: maker.hexdigest() for name, maker in makers.items()}


def agrees(path: Path, size: int | None, digest: Digest | None) -> bool:
    """Whether a file has this size and this checksum, as far as they are known."""
    if size is not None and path.stat().st_size != size:
        return False
    return digest is None or digest_of(path, digest.algorithm) == digest.value
