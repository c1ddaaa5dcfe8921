"""Download files: in parallel, resumed, verified, and renamed into place when they are complete."""

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

from ppdiffusers.core.addresses import shown_address
from ppdiffusers.core.environment import is_on, read_number
from ppdiffusers.core.errors import ConfigError, SourceError
from ppdiffusers.core.reading import LARGEST_FILE, read_json
from ppdiffusers.io import http_client
from ppdiffusers.io.http_client import FetchError, HttpClient, network_errors
from ppdiffusers.io.hubs.base import Digest, RemoteFile
from ppdiffusers.io.snapshot import PARTIAL, FileRecord, Snapshot, agrees, digests_of
from ppdiffusers.utils.logging import get_logger, is_progress_bar_enabled

if TYPE_CHECKING:
    import requests

logger = get_logger(__name__)

_CHUNK = 1 << 14  # bytes; an incomplete chunk is lost when the connection breaks
_SMALL = (".json", ".txt", ".md", ".yaml", ".model")  # files without a known size that may not be large
_LARGEST_COPY = 1 << 20  # bytes; larger local files are linked
# A file with wrong content is downloaded once more from its beginning: a proxy may have sent another file.
_WRONG_CONTENT_TRIES = 2


class _Stopped(Exception):
    """Another download failed, or the user pressed Ctrl-C."""


class _WrongContent(Exception):
    """The received data do not have the size or checksum that the hub reports."""


def fetch_files(
    files: list[RemoteFile],
    snapshot: Snapshot,
    client: HttpClient,
    *,
    resume: bool = True,
    progress: bool | None = None,
) -> None:
    """Download files into the folder of a snapshot, except for those that it has.

    The caller holds the folder's lock.

    Args:
        resume: continue an interrupted download.
        progress: whether to show a progress bar; None: unless `PPDIFFUSERS_DISABLE_PROGRESS_BARS` is set.

    Raises:
        FetchError: downloads failed, or checksums differ; all of these files are listed. Complete files are kept, and
            the next run resumes the others.
        SourceError: the disk has too little space.
    """
    snapshot.sweep()
    wanted = [file for file in files if not _is_complete(file, snapshot)]
    partial = snapshot.folder / PARTIAL
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    _check_free_space(wanted, snapshot.folder)
    stop = threading.Event()
    problems: list[str] = []
    with tqdm(
        total=sum(file.size or 0 for file in wanted) or None,
        unit="B",
        unit_scale=True,
        desc=snapshot.model,
        disable=not (progress_bars_enabled() if progress is None else progress) or not wanted,
    ) as bar:
        counted = _SharedBar(bar)
        pool = ThreadPoolExecutor(_workers())
        try:
            jobs = {pool.submit(_fetch_one, file, snapshot, client, counted, stop): file for file in wanted}
            for job in as_completed(jobs):
                error = job.exception()
                if isinstance(error, FetchError):
                    problems.append(f"{jobs[job].path}: {error.what} {'; '.join(error.problems)}".rstrip())
                    stop.set()
                elif error is not None and not isinstance(error, _Stopped):
                    raise error
        finally:  # after Ctrl-C too: the threads end at their next chunk
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    if problems:
        raise FetchError(
            f"{len(problems)} of {len(wanted)} files could not be downloaded.",
            where=snapshot.model,
            problems=problems,
            remedy="run the same again to resume the download, or choose another hub (PPDIFFUSERS_SOURCES).",
        )
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)


class _SharedBar:
    """A progress bar that several threads update."""

    def __init__(self, bar: tqdm):
        self._bar, self._lock = bar, threading.Lock()
        self._expected: set[str] = set()

    def advance(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)

    def expect(self, file: RemoteFile, total: int | None) -> None:
        """Add the size of a file to the total, if the hub did not report it before."""
        with self._lock:
            if file.size is None and total is not None and file.path not in self._expected:
                self._expected.add(file.path)
                self._bar.total = (self._bar.total or 0) + total
                self._bar.refresh()


@dataclass
class _PartialFile:
    """The beginning of a file, and the server's validator (ETag or date) of its version."""

    path: Path

    @property
    def _metadata(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def metadata(self) -> dict[str, Any]:
        try:
            return read_json(self._metadata)
        except ConfigError:
            return {}

    def begin(self, metadata: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # the metadata never describe other bytes
        self._metadata.write_text(json.dumps(metadata), encoding="utf-8")
        self.path.touch()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._metadata.unlink(missing_ok=True)


def _fetch_one(
    file: RemoteFile, snapshot: Snapshot, client: HttpClient, bar: _SharedBar, stop: threading.Event
) -> None:
    part = _PartialFile(snapshot.folder / PARTIAL / f"{quote(file.path, safe='')}.part")
    for attempt in range(_WRONG_CONTENT_TRIES):
        try:
            if attempt == 0 and _use_local_copy(file, part):
                bar.advance(part.size)
            else:
                _receive(file, part, client, bar, stop)
            record = _verified(file, part)
            break
        except _WrongContent as error:
            bar.advance(-part.size)
            part.remove()
            wrong = error
            logger.warning("%s: %s", shown_address(file.url), error)
    else:
        raise FetchError("The received data are not the listed file.", where=file.url, problems=[str(wrong)])
    target = snapshot.folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part.path, target)
    part.remove()
    snapshot.record(file.path, record)


def _receive(file: RemoteFile, part: _PartialFile, client: HttpClient, bar: _SharedBar, stop: threading.Event) -> None:
    """Receive a file into `part`; resume after interruptions as long as each attempt makes progress."""
    if part.metadata().get("identity") != _identity(file):
        part.remove()
    bar.advance(part.size)
    failures = 0
    while True:
        if stop.is_set():
            raise _Stopped
        before, slow = part.size, False
        try:
            with client.request("GET", file.url, {**file.headers, **_range(file, part)}, accept=(416,)) as response:
                total = _prepare(response, file, part, bar)
                bar.expect(file, total)
                if total is None or part.size < total:
                    _write(response, part, bar, stop, _limit(response, file, total))
            if total is None or part.size >= total:
                return
            problem = f"the connection ended after {part.size} of {total} bytes"
        except network_errors() as error:
            problem = f"the connection broke after {part.size} bytes: {type(error).__name__}"
            if slow := isinstance(error, http_client.TooSlow):
                problem = f"the server is too slow: {error}"
        failures = 0 if part.size > before and not slow else failures + 1
        if failures > len(http_client.RETRY_WAITS):
            raise FetchError("The connection broke in every attempt.", where=file.url, problems=[problem])
        logger.info("%s: %s; resuming", shown_address(file.url), problem)
        time.sleep(http_client.RETRY_WAITS[max(failures - 1, 0)] if failures else 0.0)


def _identity(file: RemoteFile) -> str:
    """Return what must be equal for the part of an earlier run to be a part of this file."""
    known = file.digest.value if file.digest is not None else None
    return json.dumps([file.url, file.size, known])


def _range(file: RemoteFile, part: _PartialFile) -> dict[str, str]:
    if part.size == 0:
        return {}
    validator = part.metadata().get("validator")
    if validator is not None:
        return {"Range": f"bytes={part.size}-", "If-Range": validator}
    # Without a validator, only the checksum at the end shows whether both parts are of the same version.
    return {"Range": f"bytes={part.size}-"} if file.digest is not None else {}


def _prepare(response: requests.Response, file: RemoteFile, part: _PartialFile, bar: _SharedBar) -> int | None:
    """Prepare `part` for the body of the response; return the size of the whole file, if it is known."""
    if response.headers.get("Content-Type", "").startswith("text/html") and not file.path.endswith((".html", ".htm")):
        raise _WrongContent("the server sends a web page")
    if response.status_code == 206:
        noted, sent = part.metadata().get("validator"), _validator(response)
        if noted is not None and sent is not None and sent != noted:
            raise _WrongContent(f"the part of an earlier run is of the version {noted}, the server has {sent}")
        span = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)", response.headers.get("Content-Range", ""))
        total = int(span[2]) if span and span[2] != "*" else file.size
        if span and int(span[1]) == part.size and (file.size is None or total == file.size):
            return total
        raise _WrongContent(f"requested bytes from {part.size}, received {response.headers.get('Content-Range')!r}")
    if response.status_code == 416:
        if file.size is not None and part.size == file.size:
            return file.size  # complete; the checksum is compared next
        raise _WrongContent(f"the part of an earlier run has {part.size} bytes, and the server has fewer")
    # 200: the whole file, even if a range was requested
    bar.advance(-part.size)
    part.begin({"identity": _identity(file), "validator": _validator(response)})
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    total = None if encoded else http_client.content_length(response.headers)
    if file.size is not None and total is not None and total != file.size:
        raise _WrongContent(f"the server sends {total} bytes, expected {file.size}")
    return total if total is not None else file.size


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):  # weak ETags do not compare bytes
        return etag
    return response.headers.get("Last-Modified")


def _limit(response: requests.Response, file: RemoteFile, total: int | None) -> int | None:
    """Return the bytes that the file may have at most: its size, if it is known."""
    if total is not None:
        return total
    is_compressed = response.headers.get("Content-Encoding", "identity") != "identity"
    return LARGEST_FILE if is_compressed or file.path.endswith(_SMALL) else None


def _write(
    response: requests.Response, part: _PartialFile, bar: _SharedBar, stop: threading.Event, limit: int | None
) -> None:
    size = part.size
    with open(part.path, "ab", buffering=0) as out:
        for piece in http_client.pieces(response, _CHUNK):
            if stop.is_set():
                raise _Stopped
            size += len(piece)
            if limit is not None and size > limit:
                raise _WrongContent(f"the server sends more than {limit} bytes")
            out.write(piece)
            bar.advance(len(piece))


def _use_local_copy(file: RemoteFile, part: _PartialFile) -> bool:
    """Use a copy on this machine if it is the same file; return whether it is."""
    if file.local is None:
        return False
    try:
        if not agrees(file.local, file.size, file.digest):
            return False
        part.begin({"identity": _identity(file)})
        _link_or_copy(file.local.resolve(), part.path)
    except OSError:
        return False  # it was removed in the meantime
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    """Link large files, so that they use disk space once; copy small ones, which users edit."""
    if source.stat().st_size > _LARGEST_COPY:
        try:
            target.unlink()
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def _verified(file: RemoteFile, part: _PartialFile) -> FileRecord:
    if file.size is not None and part.size != file.size:
        raise _WrongContent(f"{part.size} bytes received, expected {file.size}")
    algorithm = file.digest.algorithm if file.digest is not None else "sha256"
    digests = digests_of(part.path, ("sha256", algorithm))
    if file.digest is not None and digests[algorithm] != file.digest.value:
        raise _WrongContent(f"its {algorithm} is {digests[algorithm]}, expected {file.digest.value}")
    if file.digest is None and (problem := _looks_wrong(file, part)):
        raise _WrongContent(problem)
    with open(part.path, "rb") as written:
        os.fsync(written.fileno())
    return FileRecord(
        part.size, digests["sha256"], file.url, f"{algorithm}:{file.digest.value}" if file.digest else None
    )


def _looks_wrong(file: RemoteFile, part: _PartialFile) -> str | None:
    """Describe why the beginning of a file without a checksum cannot be that of this file: login pages of proxies."""
    with open(part.path, "rb") as received:
        start = received.read(256).lstrip()
    if start[:9].lower() == b"<!doctype" or start[:5].lower() == b"<html":
        return "it is a web page"
    if file.path.endswith(".json") and start[:1] not in (b"{", b"["):
        return f"it is not JSON: it begins with {start[:20]!r}"
    return None


def _is_complete(file: RemoteFile, snapshot: Snapshot) -> bool:
    if not snapshot.has(file.path):
        return False
    record = snapshot.files[file.path]
    if file.size is not None and file.size != record.size:
        return False
    if file.digest is None or file.digest == Digest("sha256", record.sha256):
        return True
    return f"{file.digest.algorithm}:{file.digest.value}" == record.digest


def _check_free_space(files: list[RemoteFile], folder: Path) -> None:
    needed = sum(file.size or 0 for file in files)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / PARTIAL
    present = sum(path.stat().st_size for path in partial.glob("*.part")) if partial.is_dir() else 0
    free = shutil.disk_usage(folder).free
    if needed - present > free:
        raise SourceError(
            "The disk has too little space.",
            where=folder,
            expected=f"{needed - present} free bytes; there are {free}",
            remedy="free some space (see `ppdiffusers cache ls`), or set PPDIFFUSERS_CACHE to another disk.",
        )


def _workers() -> int:
    """Return the number of parallel downloads."""
    return int(read_number("PPDIFFUSERS_DOWNLOAD_WORKERS", 8, "parallel downloads", low=1, high=256, whole=True))


def progress_bars_enabled() -> bool:
    """Return whether neither `PPDIFFUSERS_DISABLE_PROGRESS_BARS` nor `logging.disable_progress_bar` disables them."""
    return is_progress_bar_enabled() and not is_on("PPDIFFUSERS_DISABLE_PROGRESS_BARS")
