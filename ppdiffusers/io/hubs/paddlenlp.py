"""PaddleNLP's community hub: an object storage that can be queried for a file and cannot list its files."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.http_client import FetchError, HttpClient, content_length
from ppdiffusers.io.hubs.base import Digest, Hub, HubModel, QueriedModel, RemoteFile

# `<endpoint>/models/community/<name>/<file>`
_ENDPOINT = "https://bj.bcebos.com/paddlenlp"
_DEFAULT = "default"  # the hub has no revisions
# A storage that does not allow listing responds with 403 to requests for missing files.
_ABSENT = (403, 404, 410)


class PaddleNLPHub(Hub):
    """Respects `PPNLP_ENDPOINT`, as paddlenlp does."""

    name = "paddlenlp"
    title = "PaddleNLP"
    default_revision = _DEFAULT

    @property
    def endpoint(self) -> str:
        return os.environ.get("PPNLP_ENDPOINT", _ENDPOINT).rstrip("/")

    def open(self, client: HttpClient, model: str, revision: str, token: str | bool | None) -> HubModel:
        if revision not in (_DEFAULT, "main", "master"):
            raise SourceError(f"This hub has no revisions; {revision!r} was requested.", where=self.endpoint)
        return _Model(client, self.name, model, _DEFAULT, where=f"{self.endpoint}/models/community/{quote(model)}")


class _Model(QueriedModel):
    def query(self, path: str) -> RemoteFile | None:
        url = f"{self.where}/{quote(path)}"
        try:
            with self.client.request("HEAD", url) as response:
                return RemoteFile(path, url, content_length(response.headers), _digest(response.headers))
        except FetchError as error:
            if error.status in _ABSENT:
                return None
            raise


def _digest(headers: Mapping[str, str]) -> Digest | None:
    """Return the MD5 that the storage reports for objects that were uploaded in one piece."""
    md5 = headers.get("Content-MD5", "")
    if re.fullmatch(r"[A-Za-z0-9+/]{22}==", md5):
        return Digest("md5", base64.b64decode(md5).hex())
    etag = headers.get("ETag", "").strip('"').lower()
    return Digest("md5", etag) if re.fullmatch(r"[0-9a-f]{32}", etag) else None
