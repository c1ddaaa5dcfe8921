"""Models in the local caches: ours, and that of Hugging Face's own libraries."""

from __future__ import annotations

from pathlib import Path

from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.extras import available
from ppdiffusers.io.hubs.base import Digest, HubModel, RemoteFile
from ppdiffusers.io.hubs.huggingface import cached_file
from ppdiffusers.io.snapshot import Snapshot


class NotCached(SourceError):
    """The cache does not know whether the model has a file; only the hub does."""


class CachedModel(HubModel):
    """A model with files in our cache.

    Args:
        snapshot: the files.
        assume_missing: treat files that the hub was never asked for as missing. Otherwise they raise `NotCached`.
    """

    def __init__(self, snapshot: Snapshot, assume_missing: bool):
        super().__init__(snapshot.hub, snapshot.model, snapshot.revision, snapshot.commit)
        self.snapshot, self.assume_missing = snapshot, assume_missing

    @property
    def where(self) -> str:
        return str(self.snapshot.folder)

    def _find(self, path: str) -> RemoteFile | None:
        if self.snapshot.has(path):
            record = self.snapshot.files[path]
            digest, local = Digest("sha256", record.sha256), self.snapshot.folder / path
            return RemoteFile(path, record.url, record.size, digest, local=local)
        if path in self.snapshot.unfinished:
            raise NotCached("The download was not finished.", where=self.where, problems=[f"{path} is missing"])
        if self.assume_missing or path in self.snapshot.known_missing:
            return None
        raise NotCached("The cache does not have all files.", where=self.where, problems=[f"{path} is missing"])

    def read(self, file: RemoteFile) -> bytes:
        return file.local_path.read_bytes()

    def local_folder(self, files: list[RemoteFile]) -> Path:
        return self.snapshot.folder


class HuggingFaceCacheModel(HubModel):
    """A model in the cache of `huggingface_hub`, used when the network may not be used.

    Files that are not in that cache count as missing: it does not record which files were requested.
    """

    def __init__(self, model: str, revision: str):
        super().__init__("hf", model, revision)

    @property
    def where(self) -> str:
        return "the cache of huggingface_hub"

    def _find(self, path: str) -> RemoteFile | None:
        found = cached_file(self.model, path, self.revision)
        return None if found is None else RemoteFile(path, found.as_uri(), found.stat().st_size, local=found)

    def read(self, file: RemoteFile) -> bytes:
        return file.local_path.read_bytes()

    def local_folder(self, files: list[RemoteFile]) -> Path:
        first = files[0]
        return first.local_path.parents[first.path.count("/")]


def huggingface_cache(model: str, revision: str) -> HuggingFaceCacheModel | None:
    """Return the model in Hugging Face's cache; None if that library is not installed or cannot have such a name."""
    if model.count("/") > 1 or not available("huggingface_hub"):
        return None
    return HuggingFaceCacheModel(model, revision)
