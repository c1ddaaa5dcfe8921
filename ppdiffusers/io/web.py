"""Requests over HTTP that survive a bad network: they are tried again, and what stays wrong becomes one error."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ppdiffusers.core.environment import read_number
from ppdiffusers.core.errors import SourceError
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.version import __version__

if TYPE_CHECKING:  # importing it takes a tenth of a second, and most programs load from folders
    import requests

logger = get_logger(__name__)

RETRY_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further try
_FIRST_RETRIES = 2  # for a host that has never answered: a network may not let us reach it at all
LONGEST_WAIT = 60.0  # seconds that a server may ask us to wait
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class FetchError(SourceError):
    """A request that failed for good.

    Attributes:
        status: the server's status code; None when no answer came.
    """

    def __init__(self, *args: Any, status: int | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.status = status


class Web:
    """Requests with a timeout, retries, and one connection pool per thread.

    Args:
        proxies: scheme -> address.
        offline: why no socket may be opened, if none may: then every request fails.
    """

    def __init__(self, proxies: Mapping[str, str] | None = None, offline: str | None = None):
        self.proxies, self.offline = dict(proxies or {}), offline
        self._answered: set[str] = set()  # hosts
        self._per_thread = threading.local()

    @property
    def _session(self) -> requests.Session:
        import requests

        if not hasattr(self._per_thread, "session"):
            self._per_thread.session = requests.Session()
            # the real size of files is wanted, so nothing is to be compressed on the way
            self._per_thread.session.headers.update(
                {"User-Agent": f"ppdiffusers/{__version__}", "Accept-Encoding": "identity"}
            )
        return self._per_thread.session

    @contextmanager
    def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = ()
    ) -> Iterator[requests.Response]:
        """The answer to a request, its body not yet read; a busy or silent server is asked again.

        Args:
            accept: status codes besides 2xx that are answers and not errors.

        Raises:
            FetchError: the server refused, or did not answer however often it was asked.
        """
        response = self._answer(method, url, headers or {}, accept)
        try:
            yield response
        finally:
            response.close()

    def read(self, url: str, headers: Mapping[str, str] | None = None, limit: int = 64 << 20) -> bytes:
        """The whole body of a small file.

        Raises:
            FetchError: it could not be got, or is longer than `limit` bytes.
        """
        last: Exception | None = None
        for wait in (0.0, *RETRY_WAITS):
            time.sleep(wait)
            with self.ask("GET", url, headers) as response:
                try:
                    body = bytearray()
                    for chunk in response.iter_content(1 << 16):
                        body += chunk
                        if len(body) > limit:
                            raise FetchError(f"This file is longer than {limit} bytes.", where=url)
                    return bytes(body)
                except network_errors() as error:
                    last = error
        raise FetchError("The connection broke again and again.", where=url, problems=[str(last)]) from last

    def _answer(self, method: str, url: str, headers: Mapping[str, str], accept: tuple[int, ...]) -> requests.Response:
        if urlsplit(url).scheme not in ("http", "https"):
            raise FetchError("Only http and https addresses are fetched.", where=url)
        if self.offline:
            raise FetchError(f"Nothing is fetched, since {self.offline}.", where=url)
        host, tries = urlsplit(url).netloc, 0
        while True:
            asked_wait = 0.0
            try:
                response = self._send(method, url, headers)
            except network_errors() as error:
                problem = f"no answer: {_short(error)}"
            else:
                self._answered.add(host)
                if response.ok or response.status_code in accept:
                    return response
                problem, asked_wait = f"{response.status_code} {response.reason}", _asked_wait(response)
                response.close()
                if response.status_code not in _BUSY:
                    raise FetchError("The server refused.", where=url, problems=[problem], status=response.status_code)
            waits = RETRY_WAITS if host in self._answered else RETRY_WAITS[:_FIRST_RETRIES]
            if tries >= len(waits):
                raise FetchError(
                    "The server did not answer, however often it was asked.", where=url, problems=[problem]
                )
            wait = max(waits[tries], asked_wait)
            logger.info("%s: %s; trying again in %.1f s", url, problem, wait)
            time.sleep(wait)
            tries += 1

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        return self._session.request(
            method,
            url,
            headers=dict(headers),
            stream=method != "HEAD",  # with nothing left to read, the connection is used again
            allow_redirects=True,
            timeout=(min(10.0, timeout()), timeout()),
            proxies=self.proxies or None,
        )


def network_errors() -> tuple[type[Exception], ...]:
    """What the network may raise while a body is read."""
    import requests
    import urllib3

    return (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)


def answers(url: str) -> str | None:
    """Whether a server is there, whatever it says: None, or why it does not answer. It is asked once."""
    import requests

    try:
        requests.head(url, timeout=min(5.0, timeout()), allow_redirects=False)
    except network_errors() as error:
        return _short(error)
    return None


def timeout() -> float:
    """Seconds without a byte after which a connection counts as dead: `PPDIFFUSERS_TIMEOUT`, or 30."""
    return read_number("PPDIFFUSERS_TIMEOUT", 30, "seconds", low=0.1, high=86_400)


def _asked_wait(response: requests.Response) -> float:
    """Seconds, as a number or as a date; 0 for what is neither."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    parts = email.utils.parsedate_tz(text)
    seconds = 0.0 if parts is None else email.utils.mktime_tz(parts) - time.time()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _short(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return re.sub(r"^(<.*>|HTTPS?Connection\(.*?\)): ", "", str(reason or error))
