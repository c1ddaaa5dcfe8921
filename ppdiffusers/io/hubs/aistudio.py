"""AI Studio: git repositories behind the interface of Gitea, asked for one file after the other.

Host, token and the description of a file are asked of its SDK where that is installed (io/hubs/aistudio_client.py),
and found in the same places where it is not. The files come through our engine either way: the SDK neither goes on with
a broken download nor checks what arrived.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.hubs.aistudio_client import TOKEN, AIStudioClient, find_client
from ppdiffusers.io.hubs.base import Digest, Hub, OpenModel, ProbedModel, RemoteFile
from ppdiffusers.io.hubs.responses import as_size, parse_json, well_formed
from ppdiffusers.io.web import FetchError, Web
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

_ENDPOINT = "http://git.aistudio.baidu.com"
_ABSENT = (404, 410)
# What git keeps in place of a large file.
_POINTER = re.compile(rb"version https://git-lfs\S+\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")


class AIStudioHub(Hub):
    """Honours `STUDIO_GIT_HOST` (or `AISTUDIO_ENDPOINT`), `AISTUDIO_ACCESS_TOKEN` (or `AISTUDIO_TOKEN`), and the token
    that the SDK's command line keeps (under `AISTUDIO_CACHE_HOME` if that is set)."""

    name = "aistudio"
    title = "AI Studio"
    default_revision = "master"

    @property
    def endpoint(self) -> str:
        chosen = os.environ.get("STUDIO_GIT_HOST") or os.environ.get("AISTUDIO_ENDPOINT") or _usual_host()
        return chosen.rstrip("/")

    def open(self, web: Web, model: str, revision: str, token: str | bool | None) -> OpenModel:
        if model.count("/") != 1:
            raise SourceError("Names of this hub have two parts.", where=model, expected="owner/name")
        if revision == "main":  # what the other hubs call it
            revision = self.default_revision
        wants_token, client = token is not False, find_client()
        opened = _Model(web, self.name, model, revision, where=f"{self.endpoint}/api/v1/repos/{quote(model)}")
        opened.host = self.endpoint
        opened.token = token if isinstance(token, str) else _token() if wants_token else None
        # the SDK takes no proxies, and sends the environment's token where it is given none
        if client is not None and client.describes and wants_token and not web.proxies:
            opened.client = client
        return opened


class _Model(ProbedModel):
    host: str
    token: str | None = None
    client: AIStudioClient | None = None

    def probe(self, path: str) -> RemoteFile | None:
        reference = "" if self.revision == AIStudioHub.default_revision else f"?ref={quote(self.revision, safe='')}"
        address = f"{quote(path, safe='')}{reference}"
        url = f"{self.where}/contents/{address}"
        headers = {"Authorization": f"token {self.token}"} if self.token else {}
        try:
            entry = self._told_by_client(path)
            if entry is None:
                entry = parse_json(self.web.read(url, headers), url)
        except FetchError as error:
            if error.status in _ABSENT:
                return None
            raise
        with well_formed("the description of a file", url):
            size, digest = _size_and_digest(entry)
        return RemoteFile(path, f"{self.where}/media/{address}", size, digest, headers)

    def _told_by_client(self, path: str) -> dict[str, Any] | None:
        """What the SDK says about a file. It asks a busy server once, and we go on asking: then, None."""
        client = self.client
        if client is None:
            return None
        try:
            return client.describe(self.host, self.model, path, self.revision, self.token)
        except FetchError as error:
            if error.status in _ABSENT:
                raise
            if error.status is None:  # it is not asked again: it would wait for each file anew
                self.client = None
            logger.info("%s: %s %s; asking without it", error.where, error.what, "; ".join(error.problems))
            return None


def _size_and_digest(entry: dict[str, Any]) -> tuple[int | None, Digest | None]:
    content = entry.get("content")
    if not content:
        return None, None  # a file too large to be sent along: the download says how large
    pointer = _POINTER.match(base64.b64decode(content))
    if pointer:
        return int(pointer[2]), Digest("sha256", pointer[1].decode())
    return as_size(entry["size"]), Digest("git-sha1", entry["sha"])


def _usual_host() -> str:
    client = find_client()
    return _ENDPOINT if client is None else client.host


def _token() -> str | None:
    named = os.environ.get(TOKEN) or os.environ.get("AISTUDIO_TOKEN")
    if named:
        return named.strip()
    client = find_client()
    home = os.environ.get("AISTUDIO_CACHE_HOME", "~")
    login = _read_token(Path(home, ".cache/aistudio/.auth/token")) if client is None else client.token()
    return login or _read_token(Path("~/.cache/paddle/token"))  # paddlenlp's


def _read_token(file: Path) -> str | None:
    file = file.expanduser()
    return file.read_text("utf-8").strip() if file.is_file() else None
