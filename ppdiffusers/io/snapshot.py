"""A folder of downloaded files: its place in the cache, its manifest, and its lock."""

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

from ppdiffusers.core.config_types import problems_with
from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.files import cache_folder, expand_user, replace_file
from ppdiffusers.core.reading import read_json
from ppdiffusers.io.hubs.base import Digest
from ppdiffusers.io.names import check_file_name
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

MANIFEST = "ppdiffusers-manifest.json"
CHECKSUMS = "SHA256SUMS"
PARTIAL = ".partial"  # unfinished downloads
FORCED = ".new"  # suffix of the folder of a forced download until it is complete
BOOKKEEPING = frozenset((MANIFEST, CHECKSUMS))
_FORMAT = 1
_DASHES = "%2D%2D"
_LONGEST_NAME = 255  # bytes of a file name
# Types of the values in a manifest, and in its descriptions of files.
_FIELDS = {"source": str, "model": str, "revision": str, "commit": str | None, "files": dict}
_FIELDS |= {"absent": list[str], "unfinished": list[str]}
_RECORD_FIELDS = {"size": int, "sha256": str, "url": str, "digest": str | None}


@dataclass(frozen=True)
class FileRecord:
    """A downloaded file: its bytes, the SHA-256 of what was written, its address, the hub's checksum."""

    size: int
    sha256: str
    url: str
    digest: str | None = None


class Snapshot:
    """A folder of downloaded files and its manifest.

    Attributes:
        folder: the folder; its files have the same paths as in the model.
        hub, model, revision, commit: their origin.
        files: path -> record of the complete files.
        known_missing: paths that the hub was asked for and does not have.
        unfinished: paths whose download was started and is not complete.
    """

    def __init__(self, folder: Path, hub: str, model: str, revision: str, commit: str | None = None):
        self.folder, self.hub, self.model, self.revision, self.commit = folder, hub, model, revision, commit
        self.files: dict[str, FileRecord] = {}
        self.known_missing: set[str] = set()
        self.unfinished: set[str] = set()
        self._writing = threading.Lock()

    @classmethod
    def load(cls, folder: Path) -> Snapshot | None:
        """Read the manifest of a folder; None if it has none.

        Raises:
            SourceError: the manifest is damaged.
        """
        if not os.path.isfile(folder / MANIFEST):
            return None
        try:
            raw = read_json(folder / MANIFEST)
            made = cls(folder, raw["source"], raw["model"], raw["revision"], raw["commit"])
            problems = problems_with(raw, _FIELDS)
            made.files = {
                check_file_name(path, folder / MANIFEST): FileRecord(**entry) for path, entry in raw["files"].items()
            }
            made.known_missing, made.unfinished = set(raw["absent"]), set(raw["unfinished"])
            for record in made.files.values():
                problems += problems_with(asdict(record), _RECORD_FIELDS)
            if problems:
                raise ValueError("; ".join(problems[:10]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                "The manifest of this folder is damaged.",
                where=folder / MANIFEST,
                problems=[str(error)],
                remedy="remove the folder and download the model again.",
            ) from error
        return made

    def has(self, path: str) -> bool:
        """Return whether this file exists with the size of the download."""
        record = self.files.get(path)
        try:
            return record is not None and (self.folder / path).stat().st_size == record.size
        except OSError:
            return False

    def record(self, path: str, record: FileRecord) -> None:
        """Record a complete file and save the manifest, so that a killed process loses nothing."""
        with self._writing:
            self.files[path] = record
            self.unfinished.discard(path)
            self.save()

    def save(self) -> None:
        """Write manifest and checksums."""
        value: dict[str, Any] = {"format": _FORMAT}
        value |= {"source": self.hub, "model": self.model, "revision": self.revision, "commit": self.commit}
        value["files"] = {path: asdict(record) for path, record in sorted(self.files.items())}
        value |= {"absent": sorted(self.known_missing), "unfinished": sorted(self.unfinished)}
        with replace_file(self.folder / MANIFEST) as staging:
            staging.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with replace_file(self.folder / CHECKSUMS) as staging:
            lines = [f"{record.sha256}  {path}\n" for path, record in sorted(self.files.items())]
            staging.write_text("".join(lines), encoding="utf-8")

    def sweep(self) -> None:
        """Remove temporary files of a process that was killed while it wrote the manifest or the checksums."""
        for name in BOOKKEEPING:
            for path in self.folder.glob(f".{name}.*.part"):
                path.unlink(missing_ok=True)

    def damaged(self, progress: Callable[[int], None] = lambda count: None) -> list[str]:
        """Read every file again; describe the files that are missing or have changed."""
        problems = []
        for path, record in sorted(self.files.items()):
            file = self.folder / path
            try:
                if not file.is_file():
                    problems.append(f"{path}: missing")
                elif file.stat().st_size != record.size:
                    problems.append(f"{path}: {file.stat().st_size} bytes, expected {record.size}")
                elif digest_of(file, "sha256", progress) != record.sha256:
                    problems.append(f"{path}: its content has changed")
            except OSError as error:
                problems.append(f"{path}: it cannot be read: {error.strerror}")
        return problems

    def is_at_home(self) -> bool:
        """Return whether the folder has the name that the cache gives to this model and revision."""
        names = self.folder.parent.name, self.folder.name.removesuffix(FORCED)
        return names == (_as_folder(self.model), _as_folder(self.revision).removesuffix(FORCED))


def commit_of(folder: Path) -> str | None:
    """Return the commit of the download that a folder belongs to; None if it was not downloaded."""
    root = next((parent for parent in (folder, *folder.parents) if (parent / MANIFEST).is_file()), None)
    snapshot = None if root is None else Snapshot.load(root)
    return None if snapshot is None else snapshot.commit


def cache_root(cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of all downloaded models: `hub` in `cache_dir`, or in `core.files.cache_folder()`."""
    return (expand_user(cache_dir) if cache_dir else cache_folder()) / "hub"


def snapshot_folder(root: Path, hub: str, model: str, revision: str) -> Path:
    """Return the folder of a model in the cache. The names have been checked: none points outside of it."""
    return root / hub / _as_folder(model) / _as_folder(revision)


def name_of_folder(folder_name: str) -> str:
    """Return the model or revision that a folder name stands for."""
    return folder_name.replace("--", "/").replace(_DASHES, "--")


def _as_folder(name: str) -> str:
    return name.replace("--", _DASHES).replace("/", "--")  # different names give different folders


def lock_file_of(folder: Path) -> Path:
    """Return the file next to a folder that is locked while the folder is written."""
    name = f".{folder.name}.lock"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(folder.name)).hexdigest()}.lock"
    return folder.with_name(name)


@contextmanager
def locked(folder: Path, lock_file: Path | None = None) -> Iterator[None]:
    """Hold the lock of a folder; other processes wait for it. It is released if the process ends.

    Args:
        lock_file: replaces the one next to the folder.
    """
    from filelock import FileLock, Timeout

    lock_file = lock_file or lock_file_of(folder)
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
    """Return the checksum of a file, in hex."""
    return digests_of(path, (algorithm,), progress)[algorithm]


def digests_of(
    path: Path, algorithms: tuple[str, ...], progress: Callable[[int], None] = lambda count: None
) -> dict[str, str]:
    """Return several checksums of a file, which is read once: "sha256", "md5", "git-sha1"."""
    makers = {name: hashlib.new(name.removeprefix("git-"), usedforsecurity=False) for name in set(algorithms)}
    if "git-sha1" in makers:  # git's hash includes a header
        makers["git-sha1"].update(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            for maker in makers.values():
                maker.update(chunk)
            progress(len(chunk))
    return {name: maker.hexdigest() for name, maker in makers.items()}


def agrees(path: Path, size: int | None, digest: Digest | None) -> bool:
    """Return whether a file has this size and this checksum; None matches any."""
    if size is not None and path.stat().st_size != size:
        return False
    return digest is None or digest_of(path, digest.algorithm) == digest.value
