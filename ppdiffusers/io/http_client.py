"""HTTP requests with timeouts and retries; a request that fails for good raises one error."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from ppdiffusers.core.addresses import hide_secrets, shown_address
from ppdiffusers.core.environment import read_number
from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.tokens import check_headers
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.version import __version__

if TYPE_CHECKING:  # its import takes a tenth of a second, and most programs load from folders
    import requests

logger = get_logger(__name__)

RETRY_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each retry
_FIRST_RETRIES = 2  # for a host that has never responded: the network may not be able to reach it
LONGEST_WAIT = 60.0  # seconds that a Retry-After header may request
SLOWEST, PATIENCE = 1024, 60.0  # bytes a second, and seconds of less than that, after which a connection is closed
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class FetchError(SourceError):
    """A request that failed after all retries.

    Attributes:
        status: the server's status code; None if there was no response.
    """

    def __init__(self, *args: Any, status: int | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.status = status


def split_address(url: str) -> SplitResult:
    """Split a web address into its parts.

    Raises:
        FetchError: it is not an address.
    """
    try:
        return urlsplit(url)
    except ValueError as error:
        raise FetchError("This is not a web address.", where=url, problems=[str(error)]) from error


class HttpClient:
    """Sends requests with a timeout and retries, with one connection pool per thread.

    Args:
        proxies: scheme -> address.
        offline: the reason why the network may not be used; None if it may. With a reason, every request fails.
    """

    def __init__(self, proxies: Mapping[str, str] | None = None, offline: str | None = None):
        self.proxies, self.offline = dict(proxies or {}), offline
        self._responsive: set[str] = set()  # hosts that have responded
        self._per_thread = threading.local()

    @property
    def _session(self) -> requests.Session:
        import requests

        if not hasattr(self._per_thread, "session"):
            self._per_thread.session = requests.Session()
            # without compression, Content-Length is the size of the file
            self._per_thread.session.headers.update(
                {"User-Agent": f"ppdiffusers/{__version__}", "Accept-Encoding": "identity"}
            )
        return self._per_thread.session

    @contextmanager
    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = ()
    ) -> Iterator[requests.Response]:
        """Send a request and yield the response, with its body not yet read; retry if the server is busy or silent.

        Args:
            accept: status codes other than 2xx that are not errors.

        Raises:
            FetchError: the server refused, or did not respond after all retries.
        """
        check_headers(headers or {})
        response = self._request_with_retries(method, url, headers or {}, accept)
        try:
            yield response
        finally:
            response.close()

    def read(self, url: str, headers: Mapping[str, str] | None = None, limit: int = 64 << 20) -> bytes:
        """Download the body of a small file.

        Raises:
            FetchError: the request failed, or the body is longer than `limit` bytes.
        """
        last: Exception | None = None
        for wait in (0.0, *RETRY_WAITS):
            time.sleep(wait)
            with self.request("GET", url, headers) as response:
                try:
                    body = bytearray()
                    for piece in pieces(response, 1 << 16):
                        body += piece
                        if len(body) > limit:
                            raise FetchError(f"The file is longer than {limit} bytes.", where=url)
                    return bytes(body)
                except network_errors() as error:
                    last = error
        raise FetchError("The connection broke in every attempt.", where=url, problems=[str(last)]) from last

    def _request_with_retries(
        self, method: str, url: str, headers: Mapping[str, str], accept: tuple[int, ...]
    ) -> requests.Response:
        parts = split_address(url)
        if parts.scheme not in ("http", "https"):
            raise FetchError("Only http and https addresses are supported.", where=url)
        if self.offline:
            raise FetchError(f"The network is not used, because {self.offline}.", where=url)
        host, tries = parts.netloc, 0
        while True:
            retry_after = 0.0
            try:
                response = self._send(method, url, headers)
            except network_errors() as error:
                problem = f"no response: {_short(error)}"
            else:
                self._responsive.add(host)
                if response.ok or response.status_code in accept:
                    return response
                problem, retry_after = f"{response.status_code} {response.reason}", _retry_after(response)
                response.close()
                if response.status_code not in _BUSY:
                    raise FetchError(
                        "The server refused the request.", where=url, problems=[problem], status=response.status_code
                    )
            waits = RETRY_WAITS if host in self._responsive else RETRY_WAITS[:_FIRST_RETRIES]
            if tries >= len(waits):
                raise FetchError("The server did not respond after all retries.", where=url, problems=[problem])
            wait = max(waits[tries], retry_after)
            logger.info("%s: %s; retrying in %.1f s", shown_address(url), hide_secrets(problem), wait)
            time.sleep(wait)
            tries += 1

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        return self._session.request(
            method,
            url,
            headers=dict(headers),
            stream=method != "HEAD",  # without a body to read, the connection is reused at once
            allow_redirects=True,
            timeout=(min(10.0, timeout()), timeout()),
            proxies=self.proxies or None,
        )


class TooSlow(TimeoutError):
    """A server that keeps the connection and sends next to nothing."""


def pieces(response: requests.Response, size: int) -> Iterator[bytes]:
    """Yield the body of a response, decoded, in pieces of at most `size` bytes, as they arrive.

    Raises:
        TooSlow: fewer than `SLOWEST` bytes a second arrived for `PATIENCE` seconds.
        network_errors: the connection broke.
    """
    # `read` waits until a piece is complete, `read1` (urllib3 2) returns what has arrived
    read = getattr(response.raw, "read1", response.raw.read)
    begin, arrived = time.monotonic(), 0
    while piece := read(size, decode_content=True):
        arrived += len(piece)
        seconds = time.monotonic() - begin
        if seconds > PATIENCE:
            if arrived < SLOWEST * seconds:
                raise TooSlow(f"{arrived} bytes in {seconds:.0f} seconds")
            begin, arrived = time.monotonic(), 0
        yield piece


def network_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that reading a response can raise."""
    import requests
    import urllib3

    return (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)


def check_reachable(url: str) -> str | None:
    """Send one request to a server: None if it responds, with any status, else why it does not."""
    import requests

    try:
        requests.head(url, timeout=min(5.0, timeout()), allow_redirects=False)
    except network_errors() as error:
        return _short(error)
    return None


def timeout() -> float:
    """Return the seconds without data after which a connection is closed: `PPDIFFUSERS_TIMEOUT`, or 30."""
    return read_number("PPDIFFUSERS_TIMEOUT", 30, "seconds", low=0.1, high=86_400)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the number of bytes that a response announces; None if it is not a number."""
    text = headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _retry_after(response: requests.Response) -> float:
    """Return the seconds in the Retry-After header, a number or a date; 0 if it is neither."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    parts = email.utils.parsedate_tz(text)
    seconds = 0.0 if parts is None else email.utils.mktime_tz(parts) - time.time()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _short(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return hide_secrets(re.sub(r"^(<.*>|HTTPS?Connection\(.*?\)): ", "", str(reason or error)))
