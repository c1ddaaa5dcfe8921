"""PaddleNLP's community hub: an object storage that says whether it has a file, and never which files it has."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.hubs.base import Digest, Hub, OpenModel, ProbedModel, RemoteFile
from ppdiffusers.io.web import FetchError, Web

# `<endpoint>/models/community/<name>/<file>`
_ENDPOINT = "https://bj.bcebos.com/paddlenlp"
_DEFAULT = "default"  # the hub has no revisions
# A storage that may not be listed forbids (403) what it does not have.
_ABSENT = (403, 404, 410)


class PaddleNLPHub(Hub):
    """`PPNLP_ENDPOINT` replaces its address, as for paddlenlp itself."""

    name = "paddlenlp"
    title = "PaddleNLP"
    default_revision = _DEFAULT

    @property
    def endpoint(self) -> str:
        return os.environ.get("PPNLP_ENDPOINT", _ENDPOINT).rstrip("/")

    def open(self, web: Web, model: str, revision: str, token: str | bool | None) -> OpenModel:
        if revision not in (_DEFAULT, "main", "master"):
            raise SourceError(f"This hub has no revisions, and {revision!r} was asked for.", where=self.endpoint)
        return _Model(web, self.name, model, _DEFAULT, where=f"{self.endpoint}/models/community/{quote(model)}")


class _Model(ProbedModel):
    def probe(self, path: str) -> RemoteFile | None:
        url = f"{self.where}/{quote(path)}"
        try:
            with self.web.ask("HEAD", url) as response:
                length = response.headers.get("Content-Length", "")
                size = int(length) if length.isdecimal() else None
                return RemoteFile(path, url, size, _digest(response.headers))
        except FetchError as error:
            if error.status in _ABSENT:
                return None
            raise


def _digest(headers: Mapping[str, str]) -> Digest | None:
    """The MD5 that the storage keeps of objects that were sent to it in one piece."""
    md5 = headers.get("Content-MD5", "")
    if re.fullmatch(r"[A-Za-z0-9+/]{22}==", md5):
        return Digest("md5", base64.b64decode(md5).hex())
    etag = headers.get("ETag", "").strip('"').lower()
    return Digest("md5", etag) if re.fullmatch(r"[0-9a-f]{32}", etag) else None
