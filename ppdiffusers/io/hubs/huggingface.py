"""Hugging Face: one request lists a revision's files with sizes and checksums.

Token, addresses and the library's own cache are asked of `huggingface_hub`. The files come through our own engine:
that library neither checks contents against their checksums, nor waits and asks again when a server is busy, nor
shows one bar for all files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.extras import need
from ppdiffusers.io.hubs.base import Digest, Hub, ListedModel, OpenModel, RemoteFile
from ppdiffusers.io.hubs.responses import as_size, parse_json, well_formed
from ppdiffusers.io.names import check_file_name
from ppdiffusers.io.web import FetchError, Web

_ENDPOINT = "https://huggingface.co"
_WHY = "to load models from Hugging Face"


class HuggingFaceHub(Hub):
    """Honours `HF_ENDPOINT`, `HF_TOKEN` and a login with `huggingface-cli`."""

    name = "hf"
    title = "Hugging Face"

    @property
    def endpoint(self) -> str:
        return os.environ.get("HF_ENDPOINT", _ENDPOINT).rstrip("/")

    def open(self, web: Web, model: str, revision: str, token: str | bool | None) -> OpenModel:
        hub = need("huggingface_hub", _WHY)
        # True: the token of the login, which it finds by itself; if there is none, the server says what is missing
        token = None if token is True else token
        headers = need("huggingface_hub.utils", _WHY).build_hf_headers(token=token, library_name="ppdiffusers")
        url = f"{self.endpoint}/api/models/{model}/revision/{quote(revision, safe='')}?blobs=true"
        try:
            info = parse_json(web.read(url, headers), url)
        except FetchError as error:
            raise SourceError(error.what, where=url, problems=[*error.problems, *_advice(error.status)]) from error
        with well_formed("the list of a model's files", url):
            commit, entries = info["sha"], [_parse(entry, url) for entry in info["siblings"]]
        opened = ListedModel(web, self.name, model, revision, commit, where=f"{self.endpoint}/{model}")
        opened.files = {
            path: RemoteFile(
                path,
                hub.hf_hub_url(model, path, revision=commit, endpoint=self.endpoint),
                size,
                digest,
                headers,
                cached_file(model, path, commit),
            )
            for path, size, digest in entries
        }
        return opened


def _parse(entry: Mapping[str, Any], where: str) -> tuple[str, int | None, Digest | None]:
    path = check_file_name(entry["rfilename"], where)
    large = entry.get("lfs")
    if large:
        return path, as_size(large["size"]), Digest("sha256", large["sha256"])
    blob = entry.get("blobId")
    return path, as_size(entry.get("size")), Digest("git-sha1", blob) if blob else None


def _advice(status: int | None) -> list[str]:
    if status in (401, 403):
        return ["a private model needs a token (HF_TOKEN or token=), a gated one your consent on its page as well"]
    return []


def cached_file(model: str, path: str, revision: str) -> Path | None:
    """A file in the cache of `huggingface_hub`, which that library finds without the network."""
    cache_dir = os.environ.get("HF_HUB_CACHE")  # as it is now; the library read it when it was imported
    found = need("huggingface_hub", _WHY).try_to_load_from_cache(model, path, cache_dir, revision)
    return Path(found) if isinstance(found, str) else None
