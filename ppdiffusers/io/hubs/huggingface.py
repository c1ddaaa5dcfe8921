"""Hugging Face: one request lists a revision's files with sizes and checksums.

`huggingface_hub` provides the token, the addresses and its own cache. Files are downloaded by our engine, because that
library does not compare contents with checksums, does not retry when a server is busy, and has no progress bar for all
files together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.extras import need
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.io.hubs.base import Digest, Hub, HubModel, ListedModel, RemoteFile
from ppdiffusers.io.hubs.responses import as_hash, as_size, parse_json, well_formed
from ppdiffusers.io.names import check_listed_name

_ENDPOINT = "https://huggingface.co"
_WHY = "to load models from Hugging Face"


class HuggingFaceHub(Hub):
    """Respects `HF_ENDPOINT`, `HF_TOKEN` and a login with `huggingface-cli`."""

    name = "hf"
    title = "Hugging Face"

    @property
    def endpoint(self) -> str:
        return os.environ.get("HF_ENDPOINT", _ENDPOINT).rstrip("/")

    def open(self, client: HttpClient, model: str, revision: str, token: str | bool | None) -> HubModel:
        hub = need("huggingface_hub", _WHY)
        # True: the token of the login, which the library finds; without one, the server's error names what is missing
        token = None if token is True else token
        headers = need("huggingface_hub.utils", _WHY).build_hf_headers(token=token, library_name="ppdiffusers")
        url = f"{self.endpoint}/api/models/{model}/revision/{quote(revision, safe='')}?blobs=true"
        try:
            info = parse_json(client.read(url, headers), url)
        except FetchError as error:
            raise SourceError(error.what, where=url, problems=[*error.problems, *_advice(error.status)]) from error
        with well_formed("the list of a model's files", url):
            commit, entries = as_hash(info["sha"]), [_parse(entry, url) for entry in info["siblings"]]
        opened = ListedModel(client, self.name, model, revision, commit, where=f"{self.endpoint}/{model}")
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
    path = check_listed_name(entry["rfilename"], where)
    large = entry.get("lfs")
    if large:
        return path, as_size(large["size"]), Digest("sha256", as_hash(large["sha256"]))
    blob = entry.get("blobId")
    return path, as_size(entry.get("size")), Digest("git-sha1", as_hash(blob)) if blob else None


def _advice(status: int | None) -> list[str]:
    if status in (401, 403):
        return ["a private model needs a token (HF_TOKEN or token=); a gated model also needs your consent on its page"]
    return []


def cached_file(model: str, path: str, revision: str) -> Path | None:
    """Find a file in the cache of `huggingface_hub`, without the network."""
    cache_dir = os.environ.get("HF_HUB_CACHE")  # the current value; the library read it at its import
    try:
        found = need("huggingface_hub", _WHY).try_to_load_from_cache(model, path, cache_dir, revision)
    except ValueError:  # a name that no repository there has
        return None
    return Path(found) if isinstance(found, str) else None
