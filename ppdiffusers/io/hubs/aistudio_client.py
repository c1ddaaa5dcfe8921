"""What AI Studio's SDK says, where it is installed: its host, the token of its login, what a file is.

All its releases from 0.1.3 on have `Hub`, `config` and `request_aistudio_git_file_info` in `aistudio_sdk.hub`. What a
file is, is asked of 0.2.4 to 0.2.6 only: some earlier releases set up Python's root logger when they are asked, and the
later ones report every file that is not there on the console as trouble with the network. A file's address has no
function: `Hub.download` puts it together, prints, and writes into a cache of its own.
"""

from __future__ import annotations

import functools
import os
import threading
from types import ModuleType
from typing import Any

from ppdiffusers.core.extras import available, need
from ppdiffusers.io.web import FetchError, network_errors
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

TOKEN = "AISTUDIO_ACCESS_TOKEN"
_QUIET = ">=0.2.4,<0.3"
_NEEDED = ("__version__", "hub.Hub", "hub.config.STUDIO_GIT_HOST_DEFAULT", "hub.request_aistudio_git_file_info")
_looking_for_token = threading.Lock()


class AIStudioClient:
    """The SDK, asked.

    Args:
        sdk: the module `aistudio_sdk`.
    """

    def __init__(self, sdk: ModuleType):
        self._sdk = sdk

    @property
    def host(self) -> str:
        return self._sdk.hub.config.STUDIO_GIT_HOST_DEFAULT

    @property
    def describes(self) -> bool:
        """Whether `describe` says nothing to anybody but its caller."""
        from packaging.specifiers import SpecifierSet  # only those pay for it who have the SDK

        return SpecifierSet(_QUIET).contains(self._sdk.__version__, prereleases=True)

    def token(self) -> str | None:
        """The token of the login. `Hub` finds it and leaves it in the environment, from where it is taken away."""
        with _looking_for_token:
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
        """What the server says about a file. It is asked once.

        Raises:
            FetchError: it refused, did not answer, or did not answer with a JSON object.
        """
        where = f"{host}/{model}/{path}"
        owner, name = model.split("/")
        try:
            answer = self._sdk.hub.request_aistudio_git_file_info(host, owner, name, path, revision, token or "")
        except (*network_errors(), ValueError) as error:  # ValueError: a page that is not UTF-8
            raise FetchError("AI Studio's SDK got no answer.", where=where, problems=[str(error)]) from error
        if not isinstance(answer, dict):
            raise FetchError("AI Studio's SDK got no JSON object.", where=where)
        if "error_code" in answer:
            status, said = answer.get("biz_code"), str(answer.get("error_msg"))
            raise FetchError("AI Studio's SDK was refused.", where=where, problems=[f"{status}: {said}"], status=status)
        return answer


@functools.cache
def find_client() -> AIStudioClient | None:
    """The SDK; None if it is not installed, or if it does not work, of which one warning is given."""
    if not available("aistudio_sdk"):
        return None
    problem = None
    try:
        sdk = need("aistudio_sdk", "to speak to AI Studio")
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: a CURRENT_ENV that the SDK does not know
        problem = f"it does not import: {error.__cause__ or error}"
    else:
        missing = [name for name in _NEEDED if not _has(sdk, name)]
        if missing:
            problem = f"release {getattr(sdk, '__version__', 'unknown')} has no {', '.join(missing)}"
    if problem is None:
        return AIStudioClient(sdk)
    logger.warning(
        "AI Studio's SDK is installed and not used, since %s. AI Studio is asked without it; pip install "
        "'aistudio-sdk>=0.1.3,<0.3' repairs it.",
        problem,
    )
    return None


def _has(thing: Any, dotted: str) -> bool:
    for name in dotted.split("."):
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True
