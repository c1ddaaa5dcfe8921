"""ModelScope: one request lists a revision's files with sizes and SHA-256."""

from __future__ import annotations

import os
from urllib.parse import quote, urlencode

from ppdiffusers.io.http_client import HttpClient
from ppdiffusers.io.hubs.base import Digest, Hub, HubModel, ListedModel, RemoteFile
from ppdiffusers.io.hubs.responses import as_hash, as_size, parse_json, well_formed
from ppdiffusers.io.names import check_listed_name
from ppdiffusers.io.tokens import clean_token

_DOMAIN = "www.modelscope.cn"
_TOKEN = "MODELSCOPE_API_TOKEN"


class ModelScopeHub(Hub):
    """Respects `MODELSCOPE_DOMAIN` and `MODELSCOPE_API_TOKEN`."""

    name = "modelscope"
    title = "ModelScope"
    default_revision = "master"

    @property
    def endpoint(self) -> str:
        domain = os.environ.get("MODELSCOPE_DOMAIN", _DOMAIN).rstrip("/")
        return domain if "://" in domain else f"https://{domain}"

    def open(self, client: HttpClient, model: str, revision: str, token: str | bool | None) -> HubModel:
        if revision == "main":  # the name on the other hubs
            revision = self.default_revision
        base = f"{self.endpoint}/api/v1/models/{quote(model)}/repo"
        token = token if isinstance(token, str) else None if token is False else os.environ.get(_TOKEN)
        token = clean_token(token, _TOKEN) if token else None
        headers = {"Cookie": f"m_session_id={token}"} if token else {}
        url = f"{base}/files?{urlencode({'Revision': revision, 'Recursive': 'true'})}"
        response = parse_json(client.read(url, headers), url)
        with well_formed("the list of a model's files", url):
            entries = [entry for entry in response["Data"]["Files"] if entry.get("Type") != "tree"]
            names = [check_listed_name(entry["Path"], url) for entry in entries]
            sizes = [as_size(entry.get("Size")) for entry in entries]
            digests = [Digest("sha256", as_hash(e["Sha256"])) if e.get("Sha256") else None for e in entries]
        opened = ListedModel(client, self.name, model, revision, where=f"{self.endpoint}/models/{model}")
        opened.files = {
            name: RemoteFile(
                name,
                f"{base}?{urlencode({'Revision': revision, 'FilePath': name})}",
                size,
                digest,
                headers,
            )
            for name, size, digest in zip(names, sizes, digests)
        }
        return opened
