"""The local caches: ours, and the one in which Hugging Face's own libraries keep what they fetched."""

from __future__ import annotations

from pathlib import Path

from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.extras import available
from ppdiffusers.io.hubs.base import Digest, OpenModel, RemoteFile
from ppdiffusers.io.hubs.huggingface import cached_file
from ppdiffusers.io.snapshot import Snapshot


class NotCached(SourceError):
    """Whether the model has a file is not known without asking its source."""


class CachedModel(OpenModel):
    """A model of which files have been fetched.

    Args:
        snapshot: with the files.
        guess: take files that nobody asked the source about for absent. Otherwise they raise `NotCached`.
    """

    def __init__(self, snapshot: Snapshot, guess: bool):
        super().__init__(snapshot.source, snapshot.model, snapshot.revision, snapshot.commit)
        self.snapshot, self.guess = snapshot, guess

    @property
    def where(self) -> str:
        return str(self.snapshot.folder)

    def _find(self, path: str) -> RemoteFile | None:
        if self.snapshot.has(path):
            record = self.snapshot.files[path]
            digest, local = Digest("sha256", record.sha256), self.snapshot.folder / path
            return RemoteFile(path, record.url, record.size, digest, local=local)
        if path in self.snapshot.unfinished:
            raise NotCached("Its download was not finished.", where=self.where, problems=[f"{path} is not there"])
        if self.guess or path in self.snapshot.absent:
            return None
        raise NotCached("The cache does not have all files.", where=self.where, problems=[f"{path} is not there"])

    def read(self, file: RemoteFile) -> bytes:
        return file.local.read_bytes()

    def folder_of(self, files: list[RemoteFile]) -> Path:
        return self.snapshot.folder


class OtherCachedModel(OpenModel):
    """A model in the cache of `huggingface_hub`: used when no socket may be opened.

    What is not there counts as absent: that cache does not say what its owner has asked for.
    """

    def __init__(self, model: str, revision: str):
        super().__init__("hf", model, revision)

    @property
    def where(self) -> str:
        return "that of huggingface_hub"

    def _find(self, path: str) -> RemoteFile | None:
        found = cached_file(self.model, path, self.revision)
        return None if found is None else RemoteFile(path, found.as_uri(), found.stat().st_size, local=found)

    def read(self, file: RemoteFile) -> bytes:
        return file.local.read_bytes()

    def folder_of(self, files: list[RemoteFile]) -> Path:
        first = files[0]
        return first.local.parents[first.path.count("/")]


def other_cache(model: str, revision: str) -> OtherCachedModel | None:
    """The model in Hugging Face's cache, if that library is installed and can have a model of this name."""
    if model.count("/") > 1 or not available("huggingface_hub"):
        return None
    return OtherCachedModel(model, revision)
