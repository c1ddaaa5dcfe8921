"""AI Studio's SDK, where it is installed: its host, the token of its login, the description of a file.

All releases since 0.1.3 have `Hub`, `config` and `request_aistudio_git_file_info` in `aistudio_sdk.hub`. Descriptions
are requested from 0.2.4 to 0.2.6 only: some earlier releases configure Python's root logger, and later ones print every
missing file as a network error. The SDK has no function for a file's address: `Hub.download` builds it, prints, and
writes into a separate cache.
"""

from __future__ import annotations

import functools
import os
import threading
from types import ModuleType
from typing import Any

from ppdiffusers.core.extras import available, need
from ppdiffusers.io.http_client import FetchError, network_errors
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

TOKEN = "AISTUDIO_ACCESS_TOKEN"
_QUIET = ">=0.2.4,<0.3"
_NEEDED = ("__version__", "hub.Hub", "hub.config.STUDIO_GIT_HOST_DEFAULT", "hub.request_aistudio_git_file_info")
_token_lock = threading.Lock()


class AIStudioClient:
    """Access to the SDK.

    Args:
        sdk: the module `aistudio_sdk`.
    """

    def __init__(self, sdk: ModuleType):
        self._sdk = sdk

    @property
    def host(self) -> str:
        return self._sdk.hub.config.STUDIO_GIT_HOST_DEFAULT

    @property
    def is_quiet(self) -> bool:
        """Return whether `describe` neither logs nor prints."""
        from packaging.specifiers import SpecifierSet  # imported only where the SDK is installed

        return SpecifierSet(_QUIET).contains(self._sdk.__version__, prereleases=True)

    def token(self) -> str | None:
        """Return the token of the login. `Hub` puts it into the environment, which is restored."""
        with _token_lock:
            before = os.environ.get(TOKEN)
            try:
                self._sdk.hub.Hub()
                return os.environ.get(TOKEN) or None
            finally:
                if before is None:
                    os.environ.pop(TOKEN, None)
                else:
                    os.environ[TOKEN] = before

    def describe(self, host: str, model: str, path: str, revision: str, token: str | None) -> dict[str, Any]:
        """Return the server's description of a file, without retries.

        Raises:
            FetchError: the server refused, did not respond, or did not respond with a JSON object.
        """
        where = f"{host}/{model}/{path}"
        owner, name = model.split("/")
        errors: tuple[type[Exception], ...] = (*network_errors(), ValueError)  # ValueError: a page that is not UTF-8
        try:
            response = self._sdk.hub.request_aistudio_git_file_info(host, owner, name, path, revision, token or "")
        except errors as error:
            raise FetchError("AI Studio's SDK got no response.", where=where, problems=[str(error)]) from error
        if not isinstance(response, dict):
            raise FetchError("AI Studio's SDK got no JSON object.", where=where)
        if "error_code" in response:
            status, message = response.get("biz_code"), str(response.get("error_msg"))
            raise FetchError(
                "The server refused the request.",
                where=where,
                problems=[f"{status}: {message}"],
                status=status,
            )
        return response


@functools.cache
def find_client() -> AIStudioClient | None:
    """Return the SDK; None if it is not installed, or does not work (one warning)."""
    if not available("aistudio_sdk"):
        return None
    problem = None
    try:
        sdk = need("aistudio_sdk", "to access AI Studio")
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: an unknown CURRENT_ENV
        problem = f"it does not import: {error.__cause__ or error}"
    else:
        missing = [name for name in _NEEDED if not _has(sdk, name)]
        if missing:
            problem = f"release {getattr(sdk, '__version__', 'unknown')} has no {', '.join(missing)}"
    if problem is None:
        return AIStudioClient(sdk)
    logger.warning(
        "AI Studio's SDK is installed but not used: %s. AI Studio works without it; pip install "
        "'aistudio-sdk>=0.1.3,<0.3' fixes it.",
        problem,
    )
    return None


def _has(thing: object, dotted: str) -> bool:
    for name in dotted.split("."):
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True
