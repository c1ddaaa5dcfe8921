"""AI Studio: git repositories with the API of Gitea, queried file by file.

Where the SDK is installed, it provides the host, the token and the description of a file (io/hubs/aistudio_client.py);
without it, they are found in the same places. Files are always downloaded by our engine: the SDK neither resumes a
download nor verifies what it received.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.files import expand_user
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.io.hubs.aistudio_client import TOKEN, AIStudioClient, find_client
from ppdiffusers.io.hubs.base import Digest, Hub, HubModel, QueriedModel, RemoteFile
from ppdiffusers.io.hubs.responses import as_hash, as_size, parse_json, well_formed
from ppdiffusers.io.tokens import clean_token
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

_ENDPOINT = "http://git.aistudio.baidu.com"
_ABSENT = (404, 410)
# The content that git stores for a large file.
_POINTER = re.compile(rb"version https://git-lfs\S+\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")


class AIStudioHub(Hub):
    """Respects `STUDIO_GIT_HOST` (or `AISTUDIO_ENDPOINT`), `AISTUDIO_ACCESS_TOKEN` (or `AISTUDIO_TOKEN`), and the token
    that the SDK's command line stores (under `AISTUDIO_CACHE_HOME` if that is set).
    """

    name = "aistudio"
    title = "AI Studio"
    default_revision = "master"

    @property
    def endpoint(self) -> str:
        chosen = os.environ.get("STUDIO_GIT_HOST") or os.environ.get("AISTUDIO_ENDPOINT") or _default_host()
        return chosen.rstrip("/")

    def open(self, client: HttpClient, model: str, revision: str, token: str | bool | None) -> HubModel:
        if model.count("/") != 1:
            raise SourceError("Names on this hub have two parts.", where=model, expected="owner/name")
        if revision == "main":  # the name on the other hubs
            revision = self.default_revision
        wants_token, sdk = token is not False, find_client()
        opened = _Model(client, self.name, model, revision, where=f"{self.endpoint}/api/v1/repos/{quote(model)}")
        opened.host = self.endpoint
        opened.token = token if isinstance(token, str) else _token() if wants_token else None
        # the SDK does not support proxies, and sends the environment's token if it gets none
        if sdk is not None and sdk.is_quiet and wants_token and not client.proxies:
            opened.sdk = sdk
        return opened


class _Model(QueriedModel):
    host: str
    token: str | None = None
    sdk: AIStudioClient | None = None

    def query(self, path: str) -> RemoteFile | None:
        reference = "" if self.revision == AIStudioHub.default_revision else f"?ref={quote(self.revision, safe='')}"
        address = f"{quote(path, safe='')}{reference}"
        url = f"{self.where}/contents/{address}"
        headers = {"Authorization": f"token {self.token}"} if self.token else {}
        try:
            entry = self._describe_with_sdk(path)
            if entry is None:
                entry = parse_json(self.client.read(url, headers), url)
        except FetchError as error:
            if error.status in _ABSENT:
                return None
            raise
        with well_formed("the description of a file", url):
            size, digest = _size_and_digest(entry)
        return RemoteFile(path, f"{self.where}/media/{address}", size, digest, headers)

    def _describe_with_sdk(self, path: str) -> dict[str, Any] | None:
        """Return the SDK's description of a file; None if it failed. It never retries, our client does."""
        if self.sdk is None:
            return None
        try:
            return self.sdk.describe(self.host, self.model, path, self.revision, self.token)
        except FetchError as error:
            if error.status in _ABSENT:
                raise
            if error.status is None:  # no response: the SDK would wait again for each file
                self.sdk = None
            logger.info("%s: %s %s; continuing without the SDK", error.where, error.what, "; ".join(error.problems))
            return None


def _size_and_digest(entry: dict[str, Any]) -> tuple[int | None, Digest | None]:
    content = entry.get("content")
    if not content:
        return None, None  # the file is too large for the description: the download reports its size
    pointer = _POINTER.match(base64.b64decode(content))
    if pointer:
        return int(pointer[2]), Digest("sha256", pointer[1].decode())
    return as_size(entry["size"]), Digest("git-sha1", as_hash(entry["sha"]))


def _default_host() -> str:
    client = find_client()
    return _ENDPOINT if client is None else client.host


def _token() -> str | None:
    for name in (TOKEN, "AISTUDIO_TOKEN"):
        if named := os.environ.get(name):
            return clean_token(named, name)
    client = find_client()
    home = os.environ.get("AISTUDIO_CACHE_HOME", "~")
    login = _read_token(Path(home, ".cache/aistudio/.auth/token")) if client is None else client.token()
    login = clean_token(login, "The token of AI Studio's login") if login else None
    return login or _read_token(Path("~/.cache/paddle/token"))  # paddlenlp's


def _read_token(file: Path) -> str | None:
    file = expand_user(file)
    return clean_token(file.read_text("utf-8"), f"The content of {file}") if file.is_file() else None
