"""AI Studio: git repositories behind the interface of Gitea, asked for one file after the other.

Its SDK speaks the same interface, but neither goes on with a broken download nor checks what arrived, and follows a
file's content into a cache of its own. So the files come through our engine; address and token are found where the
SDK finds them.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.sources.answers import as_size, parse_json, well_formed
from ppdiffusers.io.sources.base import Digest, Hub, OpenModel, ProbedModel, RemoteFile
from ppdiffusers.io.web import FetchError, Web

_ENDPOINT = "http://git.aistudio.baidu.com"
_TOKEN_FILES = ("~/.cache/aistudio/.auth/token", "~/.cache/paddle/token")
# What git keeps in place of a large file.
_POINTER = re.compile(rb"version https://git-lfs\S+\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")


class AIStudioHub(Hub):
    """Honours `STUDIO_GIT_HOST` (or `AISTUDIO_ENDPOINT`) and `AISTUDIO_ACCESS_TOKEN` (or `AISTUDIO_TOKEN`)."""

    name = "aistudio"
    title = "AI Studio"
    default_revision = "master"

    @property
    def endpoint(self) -> str:
        chosen = os.environ.get("STUDIO_GIT_HOST") or os.environ.get("AISTUDIO_ENDPOINT") or _ENDPOINT
        return chosen.rstrip("/")

    def open(self, web: Web, model: str, revision: str, token: str | bool | None) -> OpenModel:
        if model.count("/") != 1:
            raise SourceError("Names of this hub have two parts.", where=model, expected="owner/name")
        if revision == "main":  # what the other hubs call it
            revision = self.default_revision
        opened = _Model(web, self.name, model, revision, where=f"{self.endpoint}/api/v1/repos/{quote(model)}")
        token = token if isinstance(token, str) else None if token is False else _token()
        opened.headers = {"Authorization": f"token {token}"} if token else {}
        return opened


class _Model(ProbedModel):
    headers: dict[str, str]

    def probe(self, path: str) -> RemoteFile | None:
        reference = "" if self.revision == AIStudioHub.default_revision else f"?ref={quote(self.revision, safe='')}"
        address = f"{quote(path, safe='')}{reference}"
        url = f"{self.where}/contents/{address}"
        try:
            entry = parse_json(self.web.read(url, self.headers), url)
        except FetchError as error:
            if error.status in (404, 410):
                return None
            raise
        with well_formed("the description of a file", url):
            size, digest = _size_and_digest(entry)
        return RemoteFile(path, f"{self.where}/media/{address}", size, digest, self.headers)


def _size_and_digest(entry: dict[str, Any]) -> tuple[int | None, Digest | None]:
    content = entry.get("content")
    if not content:
        return None, None  # a file too large to be sent along: the download says how large
    pointer = _POINTER.match(base64.b64decode(content))
    if pointer:
        return int(pointer[2]), Digest("sha256", pointer[1].decode())
    return as_size(entry["size"]), Digest("git-sha1", entry["sha"])


def _token() -> str | None:
    named = os.environ.get("AISTUDIO_ACCESS_TOKEN") or os.environ.get("AISTUDIO_TOKEN")
    if named:
        return named.strip()
    for name in _TOKEN_FILES:
        if Path(name).expanduser().is_file():
            return Path(name).expanduser().read_text("utf-8").strip() or None
    return None
