"""Hubs on the loopback interface: each implements the protocol of one hub and can misbehave in tests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 4096  # bytes; a hub stores larger files outside git
CHUNK = 1 << 14  # bytes per write


@dataclass
class Behaviour:
    """Faults of the server; paths are given by their ends.

    Attributes:
        cut: path -> the bytes after which each of the next bodies stops; None: after half of the requested bytes.
        busy: path -> status codes of the next responses.
        retry_after: text of the header in these responses.
        ignore_range: send the whole file even if a range is requested.
        corrupt: path -> True for each of the next bodies that has wrong bytes of the right length.
        longer: paths whose bodies have additional bytes.
        lie: paths whose Content-Length is larger than the body.
        missing: paths with the status 404.
        forbids: missing files have the status 403.
        delay: seconds before each chunk of a body.
        redirect: bodies are at another address, as on a CDN.
        no_validators: no ETag.
        opaque: ETags identify versions and are not checksums.
        instead: path -> (headers, makes the pieces of a body) of a response with the status 200.
        etags: path -> ETag of a 206 response.
    """

    cut: dict[str, list[int | None]] = field(default_factory=dict)
    busy: dict[str, list[int]] = field(default_factory=dict)
    retry_after: str = "0"
    ignore_range: bool = False
    corrupt: dict[str, list[bool]] = field(default_factory=dict)
    longer: set[str] = field(default_factory=set)
    lie: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    forbids: bool = False
    delay: float = 0.0
    redirect: bool = False
    no_validators: bool = False
    opaque: bool = False
    instead: dict[str, tuple[dict[str, str], Callable[[], Iterable[bytes]]]] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A request: method, path with query, headers, bytes of the body sent so far."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


class Hub:
    """Files of models, served.

    Attributes:
        files: "owner/name" -> path in the model -> content.
        behave: its faults.
        requests: all requests so far.
        token: if set, requests without it get the status 401.
        address: its address.
    """

    def __init__(self, folder: Path | None = None, model: str = "acme/tiny"):
        self.files: dict[str, dict[str, bytes]] = {}
        self.behave = Behaviour()
        self.requests: list[Request] = []
        self.token: str | None = None
        self.address = ""
        if folder is not None:
            self.add(model, folder)
        self._lock = threading.Lock()

    def add(self, model: str, folder: Path) -> None:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files[model] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    def respond(self, method: str, path: str, query: dict[str, str]) -> Response:
        raise AssertionError("a subclass implements a protocol")

    def fetched(self) -> list[str]:
        """Return the paths of all file bodies that were sent, in order."""
        return [unquote(r.path) for r in self.requests if r.method == "GET" and not self.is_listing(r.path)]

    def is_listing(self, path: str) -> bool:
        return False

    def bytes_sent(self, end: str) -> int:
        """Return the bytes of all bodies whose path has this end."""
        sent = [r for r in self.requests if r.method == "GET" and not self.is_listing(r.path)]
        return sum(r.sent for r in sent if unquote(r.path).split("?ref")[0].endswith(end))

    def note(self, request: Request) -> Request:
        with self._lock:
            self.requests.append(request)
        return request

    def next_of(self, faults: dict[str, list], path: str) -> list:
        """Remove and return the next fault for this path, in a list; [] for none."""
        with self._lock:
            return next(([left.pop(0)] for end, left in faults.items() if path.endswith(end) and left), [])


@dataclass
class Response:
    """The response of a protocol: a status, headers, a body, and whether the body is that of a file."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_file: bool = False

    @classmethod
    def json(cls, value: object) -> Response:
        return cls(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


class PaddleNLPServer(Hub):
    """Object storage: /models/community/<name>/<file>, ETag is the MD5 of the content."""

    def respond(self, method: str, path: str, query: dict[str, str]) -> Response:
        for model, files in self.files.items():
            prefix = f"/models/community/{model}/"
            if path.startswith(prefix) and path[len(prefix) :] in files:
                body = files[path[len(prefix) :]]
                return Response(200, body, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, is_file=True)
        return Response(404)


class HuggingFaceServer(Hub):
    """/api/models/<name>/revision/<revision> lists, /<name>/resolve/<commit>/<file> serves."""

    revisions = ("main", COMMIT)

    def is_listing(self, path: str) -> bool:
        return path.startswith("/api/")

    def respond(self, method: str, path: str, query: dict[str, str]) -> Response:
        listing = re.fullmatch(r"/api/models/(.+)/revision/([^/]+)", path)
        if listing and listing[1] in self.files and listing[2] in self.revisions:
            siblings = [self._sibling(name, body) for name, body in self.files[listing[1]].items()]
            return Response.json({"id": listing[1], "sha": COMMIT, "siblings": siblings})
        file = re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", path)
        if file and file[2] in self.revisions and file[3] in self.files.get(file[1], {}):
            body = self.files[file[1]][file[3]]
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return Response(200, body, headers, is_file=True)
        return Response(404)

    @staticmethod
    def _sibling(name: str, body: bytes) -> dict:
        blob = hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()
        entry = {"rfilename": name, "size": len(body), "blobId": blob}
        if len(body) >= LARGE:
            entry |= {"lfs": {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}}
            entry["blobId"] = "0" * 40  # git has the pointer only
        return entry


class ModelScopeServer(Hub):
    """/api/v1/models/<name>/repo/files lists, /api/v1/models/<name>/repo?FilePath= serves."""

    def is_listing(self, path: str) -> bool:
        return "/repo/files" in path

    def respond(self, method: str, path: str, query: dict[str, str]) -> Response:
        match = re.fullmatch(r"/api/v1/models/(.+)/repo(/files)?", path)
        if not match or match[1] not in self.files or query.get("Revision") != "master":
            return Response(404)
        files = self.files[match[1]]
        if match[2]:
            folders = [{"Path": name, "Type": "tree"} for name in {n.split("/")[0] for n in files if "/" in n}]
            listed = [
                {"Path": n, "Type": "blob", "Size": len(b), "Sha256": hashlib.sha256(b).hexdigest()}
                for n, b in files.items()
            ]
            return Response.json({"Code": 200, "Data": {"Files": [*folders, *listed]}})
        name = query.get("FilePath", "")
        return Response(200, files[name], is_file=True) if name in files else Response(404)


class AIStudioServer(Hub):
    """Gitea: /api/v1/repos/<name>/contents/<file> describes, .../media/<file> serves."""

    def is_listing(self, path: str) -> bool:
        return "/contents/" in path

    def respond(self, method: str, path: str, query: dict[str, str]) -> Response:
        match = re.fullmatch(r"/api/v1/repos/([^/]+/[^/]+)/(contents|media)/(.+)", path)
        if not match or match[3] not in self.files.get(match[1], {}):
            return Response(404)
        body = self.files[match[1]][match[3]]
        if match[2] == "media":
            return Response(200, body, {"ETag": f'"{hashlib.sha1(body).hexdigest()}"'}, is_file=True)
        stored = body
        if len(body) >= LARGE:
            digest = hashlib.sha256(body).hexdigest()
            stored = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(body)}\n".encode()
        blob = hashlib.sha1(f"blob {len(stored)}\0".encode() + stored).hexdigest()
        content = base64.b64encode(stored).decode()
        return Response.json({"type": "file", "sha": blob, "size": len(stored), "content": content})


# -- the common HTTP server -------------------------------------------------------------------------------------


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two packets: the second would wait for an acknowledgement

        def log_message(self, *args: object) -> None:
            """Log nothing."""

        def do_HEAD(self) -> None:
            self._respond(with_body=False)

        def do_GET(self) -> None:
            self._respond(with_body=True)

        def _respond(self, with_body: bool) -> None:
            # recorded before the response: a test may read the record as soon as the client has the response
            self.request_record = hub.note(Request(self.command, self.path, dict(self.headers)))
            try:
                self._serve(with_body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client closed the connection

        def _serve(self, with_body: bool) -> None:
            split = urlsplit(self.path)
            path, behave = unquote(split.path), hub.behave
            query = {key: values[0] for key, values in parse_qs(split.query).items()}
            name = query.get("FilePath", path)
            if path.startswith("/cdn/"):
                path = path[len("/cdn") :]
            elif self._refused(path, name):
                return
            response = hub.respond(self.command, path, query)
            if any(name.endswith(end) for end in behave.missing):
                response = Response(404)
            if behave.forbids and response.status == 404:
                response = Response(403)
            if not response.is_file:
                self._whole(response, with_body)
            elif behave.redirect and not split.path.startswith("/cdn/") and with_body:
                self._whole(Response(302, b"", {"Location": f"/cdn{self.path}"}), with_body)
            else:
                self._file(response, name, with_body)

        def _refused(self, path: str, name: str) -> bool:
            given = " ".join(self.headers.get(key, "") for key in ("Authorization", "Cookie"))
            if hub.token is not None and hub.token not in given:
                self._whole(Response(401), True)
                return True
            for code in hub.next_of(hub.behave.busy, name):
                self._whole(Response(code, b"", {"Retry-After": hub.behave.retry_after}), True)
                return True
            return False

        def _whole(self, response: Response, with_body: bool) -> None:
            self.send_response(response.status)
            for key, value in response.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if with_body:
                self._send(response.body)

        def _file(self, response: Response, name: str, with_body: bool) -> None:
            behave, body, etag = hub.behave, response.body, response.headers.get("ETag")
            for headers, make in (value for end, value in behave.instead.items() if name.endswith(end)):
                self._pieces(headers, make() if with_body else ())
                return
            if behave.opaque and etag:
                etag = f'"version-{etag[-9:-1]}"'
            if with_body and any(hub.next_of(behave.corrupt, name)):
                body = bytes(byte ^ 255 for byte in body)
            start, span = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range", etag) == etag
            if span and same and not behave.ignore_range:
                start = int(span[1])
            if start >= len(body) and start:
                self._whole(Response(416, b"", {"Content-Range": f"bytes */{len(body)}"}), with_body)
                return
            part = body[start:] + (b"too much" if any(name.endswith(end) for end in behave.longer) else b"")
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if start:
                etag = next((other for end, other in behave.etags.items() if name.endswith(end)), etag)
            if etag and not behave.no_validators:
                self.send_header("ETag", etag)
            for key, value in response.headers.items():
                if key != "ETag":
                    self.send_header(key, value)
            lie = 1000 if any(name.endswith(end) for end in behave.lie) else 0
            self.send_header("Content-Length", str(len(part) + lie))
            self.end_headers()
            if not with_body:
                return
            for after in hub.next_of(behave.cut, name):
                part, lie = part[: len(part) // 2 if after is None else after], 1
            self._send(part)
            if lie:
                self.close_connection = True

        def _pieces(self, headers: dict[str, str], pieces: Iterable[bytes]) -> None:
            self.close_connection = True
            self.send_response(200)
            for key, value in {**headers, "Connection": "close"}.items():
                self.send_header(key, value)
            self.end_headers()
            for piece in pieces:
                self.request_record.sent += len(piece)
                self.wfile.write(piece)

        def _send(self, body: bytes) -> None:
            for at in range(0, len(body), CHUNK):
                if hub.behave.delay:
                    time.sleep(hub.behave.delay)
                chunk = body[at : at + CHUNK]
                self.request_record.sent += len(chunk)
                self.wfile.write(chunk)
                self.wfile.flush()

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # with the default 5, eight connections at once take a second longer


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serve a hub on the loopback interface; yield its address."""
    server = _Server(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# name of the hub -> its server, and the environment variable with its address
PROTOCOLS: dict[str, tuple[Callable[..., Hub], str]] = {
    "paddlenlp": (PaddleNLPServer, "PPNLP_ENDPOINT"),
    "hf": (HuggingFaceServer, "HF_ENDPOINT"),
    "modelscope": (ModelScopeServer, "MODELSCOPE_DOMAIN"),
    "aistudio": (AIStudioServer, "STUDIO_GIT_HOST"),
}
