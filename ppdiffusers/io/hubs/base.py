"""What a source of models is: it opens a model by name, and the opened model finds files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.hubs.responses import parse_json
from ppdiffusers.io.web import Web

LARGEST_JSON = 64 << 20  # bytes
_PROBES_AT_ONCE = 8


@dataclass(frozen=True)
class Digest:
    """A checksum: `algorithm` is "sha256", "md5" or "git-sha1" (of a git object), `value` lower-case hex."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class RemoteFile:
    """A file of a model, where it is.

    Attributes:
        path: inside the model, parts separated by "/".
        url: where to get it.
        size: bytes, if the source says so.
        digest: its checksum, if the source gives one.
        headers: to send with the request.
        local: the same file on this machine, in some cache.
    """

    path: str
    url: str
    size: int | None = None
    digest: Digest | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    local: Path | None = None


@dataclass(frozen=True)
class SourceOptions:
    """How a model is looked for.

    Attributes:
        source: the only source to ask; None for all of them in order.
        revision: branch, tag or commit; None for the source's default.
        cache_dir: instead of the usual cache.
        force_download: fetch even what is there.
        resume_download: go on where an earlier download stopped.
        local_files_only: open no socket.
        token: of the source; False for none at all.
        proxies: scheme -> address, as the `requests` library takes them.
        progress: whether a bar is shown; None: unless the environment switches it off.
    """

    source: str | None = None
    revision: str | None = None
    cache_dir: Path | None = None
    force_download: bool = False
    resume_download: bool = True
    local_files_only: bool = False
    token: str | bool | None = None
    proxies: Mapping[str, str] | None = None
    progress: bool | None = None


class OpenModel(ABC):
    """A model on a source.

    Attributes:
        source: name of the source.
        model: name of the model.
        revision: as asked for.
        commit: what the revision means now, where the source says so.
        asked_in_vain: paths that `find` was asked for and that the model does not have.
        web: by which it is asked, if it is on a server: it knows already which hosts answer.
    """

    web: Web | None = None

    def __init__(self, source: str, model: str, revision: str, commit: str | None = None):
        self.source, self.model, self.revision, self.commit = source, model, revision, commit
        self.asked_in_vain: set[str] = set()

    @property
    @abstractmethod
    def where(self) -> str:
        """For messages."""

    def find(self, path: str) -> RemoteFile | None:
        """The file of this path, or None if the model has none; that it has none is remembered."""
        found = self._find(path)
        if found is None:
            self.asked_in_vain.add(path)
        return found

    @abstractmethod
    def _find(self, path: str) -> RemoteFile | None:
        """The same, without remembering."""

    @abstractmethod
    def read(self, file: RemoteFile) -> bytes:
        """What a small file holds."""

    def look_up(self, paths: Iterable[str]) -> None:
        """Learn at once about several paths that `find` is going to be asked for."""
        return

    def folder_of(self, files: list[RemoteFile]) -> Path | None:
        """The folder in which these files lie as they do in the model; None if they have to be fetched first."""
        return None

    def read_json(self, file: RemoteFile) -> dict[str, Any]:
        """What a JSON file holds.

        Raises:
            SourceError: it is too large to be one, or none.
        """
        if file.size is not None and file.size > LARGEST_JSON:
            raise SourceError(f"This is too large for a JSON file: {file.size} bytes.", where=file.url)
        return parse_json(self.read(file), file.url)


class WebModel(OpenModel):
    """A model on a server."""

    def __init__(self, web: Web, source: str, model: str, revision: str, commit: str | None = None, where: str = ""):
        super().__init__(source, model, revision, commit)
        self.web, self._where = web, where

    @property
    def where(self) -> str:
        return self._where

    def read(self, file: RemoteFile) -> bytes:
        return self.web.read(file.url, file.headers, LARGEST_JSON)


class ListedModel(WebModel):
    """A model whose server says what files there are."""

    files: Mapping[str, RemoteFile] = {}

    def _find(self, path: str) -> RemoteFile | None:
        return self.files.get(path)


class ProbedModel(WebModel):
    """A model on a server that has to be asked for each file."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._known: dict[str, RemoteFile | None] = {}

    @abstractmethod
    def probe(self, path: str) -> RemoteFile | None:
        """Ask the server."""

    def _find(self, path: str) -> RemoteFile | None:
        if path not in self._known:
            self._known[path] = self.probe(path)
        return self._known[path]

    def look_up(self, paths: Iterable[str]) -> None:
        unknown = [path for path in dict.fromkeys(paths) if path not in self._known]
        with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
            self._known.update(zip(unknown, pool.map(self.probe, unknown)))


class Hub(ABC):
    """A source that is asked over the network.

    Class attributes:
        name: as in `PPDIFFUSERS_SOURCES` and `source=`.
        title: for people.
        default_revision: what is asked for unless something else is.
    """

    name: str
    title: str
    default_revision: str = "main"

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Its address now, without a slash at the end."""

    @abstractmethod
    def open(self, web: Web, model: str, revision: str, token: str | bool | None) -> OpenModel:
        """Find a model.

        Raises:
            SourceError: there is none of this name, it may not be read, or the source does not answer.
        """
