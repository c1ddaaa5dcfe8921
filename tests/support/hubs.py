"""A hub without a network: the files of a local folder."""

from __future__ import annotations

from pathlib import Path

from ppdiffusers.io.hubs.base import HubModel, RemoteFile


class FolderAsHub(HubModel):
    """A hub with the files of a folder."""

    where = "a test"

    def __init__(self, folder: Path):
        super().__init__("folder", "acme/model", "main")
        self.folder = folder

    def _find(self, path: str) -> RemoteFile | None:
        return RemoteFile(path, path) if (self.folder / path).is_file() else None

    def read(self, file: RemoteFile) -> bytes:
        return (self.folder / file.path).read_bytes()
