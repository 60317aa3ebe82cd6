"""Whether the hub can be reached at all, asked once, so that nobody waits through a library's retries."""

import os
import socket
import threading
from typing import Any
from urllib.parse import urlparse

_PATIENCE = 3.0
"""Seconds to wait for a name server's answer."""

_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def go_offline_if_unreachable() -> bool:
    """Switch the hub library to offline mode where the hub's name cannot be resolved; whether it is offline now.

    Must be called before `huggingface_hub` is imported. What is cached still loads; what is not fails at once
    instead of after half a minute. Behind a proxy, which resolves names itself, nothing is asked or changed.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return True
    if any(os.environ.get(name) for name in _PROXIES):
        return False
    host = urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    if _resolves(host):
        return False
    os.environ["HF_HUB_OFFLINE"] = "1"
    return True


def _resolves(host: str) -> bool:
    """Whether a host's address is found within `_PATIENCE`."""
    found = threading.Event()

    def look() -> None:
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            return
        found.set()

    thread = threading.Thread(target=look, daemon=True)  # a name server may stay silent for a minute
    thread.start()
    thread.join(_PATIENCE)
    return found.is_set()


def transport_errors() -> tuple[type[Any], ...]:
    """Base class of the HTTP client's errors. The hub library has changed its client, so it is not named here."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(
        kind for kind in HfHubHTTPError.__mro__ if kind.__name__ in {"HTTPError", "RequestException"}
    )
