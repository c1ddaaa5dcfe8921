"""The interface of a hub: it opens a model by name, and the opened model finds files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.io.http_client import HttpClient
from ppdiffusers.io.hubs.responses import parse_json
from ppdiffusers.io.names import check_file_name
from ppdiffusers.io.tokens import clean_token

LARGEST_JSON = 64 << 20  # bytes
_PARALLEL_QUERIES = 8


@dataclass(frozen=True)
class Digest:
    """A checksum: `algorithm` is "sha256", "md5" or "git-sha1" (of a git object), `value` lower-case hex."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class RemoteFile:
    """A file of a model on a hub.

    Attributes:
        path: inside the model, parts separated by "/".
        url: its address.
        size: bytes, if the hub reports them.
        digest: its checksum, if the hub reports one.
        headers: headers of the request.
        local: a copy on this machine, in a cache.
    """

    path: str
    url: str
    size: int | None = None
    digest: Digest | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # with the token
    local: Path | None = None

    @property
    def local_path(self) -> Path:
        """Return the copy on this machine, which has to exist."""
        assert self.local is not None, f"{self.path} is not on this machine"
        return self.local


@dataclass(frozen=True)
class HubOptions:
    """How a model is searched and downloaded.

    Attributes:
        source: name of the only hub to search; None for all hubs in order.
        revision: branch, tag or commit; None for the hub's default.
        cache_dir: replaces the default cache.
        force_download: download files again that are in the cache.
        resume_download: continue an interrupted download.
        local_files_only: do not use the network.
        token: the access token of the hub; False for none.
        proxies: scheme -> address, as in the `requests` library.
        progress: whether to show a progress bar; None: unless the environment disables it.
    """

    source: str | None = None
    revision: str | None = None
    cache_dir: Path | None = None
    force_download: bool = False
    resume_download: bool = True
    local_files_only: bool = False
    token: str | bool | None = field(default=None, repr=False)
    proxies: Mapping[str, str] | None = field(default=None, repr=False)  # with passwords
    progress: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            object.__setattr__(self, "token", clean_token(self.token, "The argument `token`", InputError))


class HubModel(ABC):
    """A model on a hub or in a cache.

    Attributes:
        hub: name of the hub.
        model: name of the model.
        revision: as requested.
        commit: the commit of the revision, if the hub reports it.
        known_missing: paths that `find` did not find.
        client: the client that opened it, if it is on a server; it remembers which hosts have responded.
    """

    client: HttpClient | None = None

    def __init__(self, hub: str, model: str, revision: str, commit: str | None = None):
        self.hub, self.model, self.revision, self.commit = hub, model, revision, commit
        self.known_missing: set[str] = set()

    @property
    @abstractmethod
    def where(self) -> str:
        """Return the location, for messages."""

    def find(self, path: str) -> RemoteFile | None:
        """Return the file at this path; None if the model has none, which is recorded in `known_missing`."""
        found = self._find(path)
        if found is None:
            self.known_missing.add(path)
        return found

    @abstractmethod
    def _find(self, path: str) -> RemoteFile | None:
        """Return the file at this path, or None."""

    @abstractmethod
    def read(self, file: RemoteFile) -> bytes:
        """Return the content of a small file."""

    def look_up(self, paths: Iterable[str]) -> None:
        """Query several paths at once, before `find` is called for each of them."""
        return

    def local_folder(self, files: list[RemoteFile]) -> Path | None:
        """Return the local folder with these files; None if they have to be downloaded first."""
        return None

    def read_json(self, file: RemoteFile) -> dict[str, Any]:
        """Return the object in a JSON file.

        Raises:
            SourceError: the file is too large, or is not a JSON object.
        """
        if file.size is not None and file.size > LARGEST_JSON:
            raise SourceError(f"The file is too large for a JSON file: {file.size} bytes.", where=file.url)
        return parse_json(self.read(file), file.url)


class ServerModel(HubModel):
    """A model on a server."""

    client: HttpClient

    def __init__(
        self, client: HttpClient, hub: str, model: str, revision: str, commit: str | None = None, where: str = ""
    ):
        super().__init__(hub, model, revision, commit)
        self.client, self._where = client, where

    @property
    def where(self) -> str:
        return self._where

    def read(self, file: RemoteFile) -> bytes:
        return self.client.read(file.url, file.headers, LARGEST_JSON)


class ListedModel(ServerModel):
    """A model on a server that lists all files.

    The list may have names that no file here can have, such as that of a sample image: they matter when they are found.
    """

    files: Mapping[str, RemoteFile] = {}

    def _find(self, path: str) -> RemoteFile | None:
        found = self.files.get(path)
        if found is not None:
            check_file_name(path, self.where)
        return found


class QueriedModel(ServerModel):
    """A model on a server that has to be queried for each file."""

    def __init__(self, client: HttpClient, hub: str, model: str, revision: str, where: str = ""):
        super().__init__(client, hub, model, revision, where=where)
        self._known: dict[str, RemoteFile | None] = {}

    @abstractmethod
    def query(self, path: str) -> RemoteFile | None:
        """Ask the server for this path: the file, or None."""

    def _find(self, path: str) -> RemoteFile | None:
        if path not in self._known:
            self._known[path] = self.query(path)
        return self._known[path]

    def look_up(self, paths: Iterable[str]) -> None:
        unknown = [path for path in dict.fromkeys(paths) if path not in self._known]
        with ThreadPoolExecutor(_PARALLEL_QUERIES) as pool:
            self._known.update(zip(unknown, pool.map(self.query, unknown)))


class Hub(ABC):
    """A hub of models on the network.

    Class attributes:
        name: its name in `PPDIFFUSERS_SOURCES` and `source=`.
        title: its name in messages.
        default_revision: the revision to use if none is given.
    """

    name: str
    title: str
    default_revision: str = "main"

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Return its address, without a slash at the end."""

    @abstractmethod
    def open(self, client: HttpClient, model: str, revision: str, token: str | bool | None) -> HubModel:
        """Open a model.

        Raises:
            SourceError: the model does not exist, access is denied, or the hub does not respond.
        """
