"""Fetching files: side by side, resumed, checked, renamed into place when they are whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tqdm.auto import tqdm

from ppdiffusers.core.environment import is_on, read_number
from ppdiffusers.core.errors import SourceError
from ppdiffusers.io import web as web_module
from ppdiffusers.io.hubs.base import Digest, RemoteFile
from ppdiffusers.io.snapshot import PARTIAL, FileRecord, Snapshot, agrees, digests_of
from ppdiffusers.io.web import FetchError, Web, network_errors
from ppdiffusers.utils.logging import get_logger, is_progress_bar_enabled

if TYPE_CHECKING:
    import requests

logger = get_logger(__name__)

_CHUNK = 1 << 14  # bytes; what a connection that breaks may cost, for a piece that is not whole is lost
_LINKED = 1 << 20  # bytes
# A file whose content was wrong is fetched once more from its beginning: a proxy may have sent another one.
_WRONG_CONTENT_TRIES = 2


class _Stopped(Exception):
    """Another file failed, or the user pressed Ctrl-C."""


class _WrongContent(Exception):
    """What arrived is not what the source says it is."""


def fetch_files(
    files: list[RemoteFile],
    snapshot: Snapshot,
    web: Web,
    *,
    resume: bool = True,
    progress: bool | None = None,
) -> None:
    """Bring files into the folder of a snapshot; those that are there already are left alone.

    Whoever calls holds the folder's lock.

    Args:
        resume: go on where an earlier run stopped.
        progress: whether a bar is shown; None: unless `PPDIFFUSERS_DISABLE_PROGRESS_BARS` is set.

    Raises:
        FetchError: files could not be fetched, or are not what the source says; all of them are listed. Whatever
            was fetched whole is there; the rest is gone on with next time.
        SourceError: the disk is too full.
    """
    snapshot.sweep()
    wanted = [file for file in files if not _is_there(file, snapshot)]
    partial = snapshot.folder / PARTIAL
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    _check_room(wanted, snapshot.folder)
    stop = threading.Event()
    problems: list[str] = []
    with tqdm(
        total=sum(file.size or 0 for file in wanted) or None,
        unit="B",
        unit_scale=True,
        desc=snapshot.model,
        disable=not (bars_wanted() if progress is None else progress) or not wanted,
    ) as bar:
        counted = _Bar(bar)
        pool = ThreadPoolExecutor(_workers())
        try:
            jobs = {pool.submit(_fetch_one, file, snapshot, web, counted, stop): file for file in wanted}
            for job in as_completed(jobs):
                error = job.exception()
                if isinstance(error, FetchError):
                    problems.append(f"{jobs[job].path}: {error.what} {'; '.join(error.problems)}".rstrip())
                    stop.set()
                elif error is not None and not isinstance(error, _Stopped):
                    raise error
        finally:  # Ctrl-C too: the threads end at their next piece
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    if problems:
        raise FetchError(
            f"{len(problems)} of {len(wanted)} files could not be fetched.",
            where=snapshot.model,
            problems=problems,
            remedy="run the same again: it goes on where it stopped; or choose another source (PPDIFFUSERS_SOURCES).",
        )
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)


class _Bar:
    """A progress bar that several threads move."""

    def __init__(self, bar: tqdm):
        self._bar, self._lock, self._expected = bar, threading.Lock(), set()

    def move(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)

    def expect(self, file: RemoteFile, total: int | None) -> None:
        """The size of a file became known: the whole grows by it, if the source had not said it."""
        with self._lock:
            if file.size is None and total is not None and file.path not in self._expected:
                self._expected.add(file.path)
                self._bar.total = (self._bar.total or 0) + total
                self._bar.refresh()


@dataclass
class _Part:
    """The beginning of a file, and the server's mark (ETag or date) of the version it is the beginning of."""

    path: Path

    @property
    def _notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def note(self) -> dict[str, Any]:
        try:
            return json.loads(self._notes.read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def begin(self, note: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # the notes never belong to other bytes
        self._notes.write_text(json.dumps(note), encoding="utf-8")
        self.path.touch()

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


def _fetch_one(file: RemoteFile, snapshot: Snapshot, web: Web, bar: _Bar, stop: threading.Event) -> None:
    part = _Part(snapshot.folder / PARTIAL / f"{quote(file.path, safe='')}.part")
    for attempt in range(_WRONG_CONTENT_TRIES):
        try:
            if file.local is not None and attempt == 0 and _take_local(file, part):
                bar.move(part.size)
            else:
                _receive(file, part, web, bar, stop)
            record = _checked(file, part)
            break
        except _WrongContent as error:
            bar.move(-part.size)
            part.drop()
            wrong = error
            logger.warning("%s: %s", file.url, error)
    else:
        raise FetchError("What arrives is not the file that the source names.", where=file.url, problems=[str(wrong)])
    target = snapshot.folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part.path, target)
    part.drop()
    snapshot.record(file.path, record)


def _receive(file: RemoteFile, part: _Part, web: Web, bar: _Bar, stop: threading.Event) -> None:
    """Receive a file into `part`, going on after interruptions as long as each try brings bytes."""
    if part.note().get("identity") != _identity(file):
        part.drop()
    bar.move(part.size)
    failures = 0
    while True:
        if stop.is_set():
            raise _Stopped
        before = part.size
        try:
            with web.ask("GET", file.url, {**file.headers, **_range(file, part)}, accept=(416,)) as response:
                total = _place(response, file, part, bar)
                bar.expect(file, total)
                if total is None or part.size < total:
                    _write(response, part, bar, stop)
            if total is None or part.size >= total:
                return
            problem = f"the connection ended after {part.size} of {total} bytes"
        except network_errors() as error:
            problem = f"the connection broke after {part.size} bytes: {type(error).__name__}"
        failures = 0 if part.size > before else failures + 1
        if failures > len(web_module.RETRY_WAITS):
            raise FetchError("The connection broke again and again.", where=file.url, problems=[problem])
        logger.info("%s: %s; going on", file.url, problem)
        time.sleep(web_module.RETRY_WAITS[max(failures - 1, 0)] if failures else 0.0)


def _identity(file: RemoteFile) -> str:
    """What has to be equal for a part of an earlier run to be a part of this file."""
    known = file.digest.value if file.digest is not None else None
    return json.dumps([file.url, file.size, known])


def _range(file: RemoteFile, part: _Part) -> dict[str, str]:
    if part.size == 0:
        return {}
    mark = part.note().get("mark")
    if mark is not None:
        return {"Range": f"bytes={part.size}-", "If-Range": mark}
    # Without a mark only the checksum at the end can tell whether both pieces are of the same version.
    return {"Range": f"bytes={part.size}-"} if file.digest is not None else {}


def _place(response: requests.Response, file: RemoteFile, part: _Part, bar: _Bar) -> int | None:
    """Make `part` fit what the server is going to send; the size of the whole file, if it is known."""
    if response.status_code == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        total = int(span[2]) if span and span[2] != "*" else file.size
        if span and int(span[1]) == part.size and (file.size is None or total == file.size):
            return total
        raise _WrongContent(f"asked for bytes from {part.size}, got {response.headers.get('Content-Range')!r}")
    if response.status_code == 416:
        if file.size is not None and part.size == file.size:
            return file.size  # whole already; the checksum decides
        raise _WrongContent(f"the part of an earlier run has {part.size} bytes, and the server has fewer")
    # 200: the whole file, whether or not a range was asked for
    bar.move(-part.size)
    part.begin({"identity": _identity(file), "mark": _mark(response)})
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    total = int(length) if length.isdecimal() and not encoded else None
    if file.size is not None and total is not None and total != file.size:
        raise _WrongContent(f"the server sends {total} bytes, expected {file.size}")
    return total if total is not None else file.size


def _mark(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):  # a weak one promises nothing about single bytes
        return etag
    return response.headers.get("Last-Modified")


def _write(response: requests.Response, part: _Part, bar: _Bar, stop: threading.Event) -> None:
    with open(part.path, "ab", buffering=0) as out:
        for chunk in response.iter_content(_CHUNK):
            if stop.is_set():
                raise _Stopped
            out.write(chunk)
            bar.move(len(chunk))


def _take_local(file: RemoteFile, part: _Part) -> bool:
    """Use a copy on this machine if it is the same file; True if it was taken."""
    try:
        if not agrees(file.local, file.size, file.digest):
            return False
        part.begin({"identity": _identity(file)})
        _link_or_copy(file.local.resolve(), part.path)
    except OSError:
        return False  # gone in the meantime
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    """Large files are linked, so that they take their room once; small ones, which people edit, are copied."""
    if source.stat().st_size > _LINKED:
        try:
            target.unlink()
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def _checked(file: RemoteFile, part: _Part) -> FileRecord:
    if file.size is not None and part.size != file.size:
        raise _WrongContent(f"{part.size} bytes arrived, expected {file.size}")
    algorithm = file.digest.algorithm if file.digest is not None else "sha256"
    digests = digests_of(part.path, ("sha256", algorithm))
    if file.digest is not None and digests[algorithm] != file.digest.value:
        raise _WrongContent(f"its {algorithm} is {digests[algorithm]}, expected {file.digest.value}")
    with open(part.path, "rb") as written:
        os.fsync(written.fileno())
    return FileRecord(part.size, digests["sha256"], file.url, file.digest and f"{algorithm}:{file.digest.value}")


def _is_there(file: RemoteFile, snapshot: Snapshot) -> bool:
    if not snapshot.has(file.path):
        return False
    record = snapshot.files[file.path]
    if file.size is not None and file.size != record.size:
        return False
    if file.digest is None or file.digest == Digest("sha256", record.sha256):
        return True
    return f"{file.digest.algorithm}:{file.digest.value}" == record.digest


def _check_room(files: list[RemoteFile], folder: Path) -> None:
    needed = sum(file.size or 0 for file in files)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / PARTIAL
    there = sum(path.stat().st_size for path in partial.glob("*.part")) if partial.is_dir() else 0
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        raise SourceError(
            "The disk is too full.",
            where=folder,
            expected=f"{needed - there} free bytes; there are {free}",
            remedy="make room (`ppdiffusers cache ls` shows what is cached), or set PPDIFFUSERS_CACHE to another disk.",
        )


def _workers() -> int:
    """Files that are fetched at a time."""
    return int(read_number("PPDIFFUSERS_DOWNLOAD_WORKERS", 8, "downloads at a time", low=1, high=256, whole=True))


def bars_wanted() -> bool:
    """Unless `PPDIFFUSERS_DISABLE_PROGRESS_BARS` is set or `logging.disable_progress_bar` was called."""
    return is_progress_bar_enabled() and not is_on("PPDIFFUSERS_DISABLE_PROGRESS_BARS")
