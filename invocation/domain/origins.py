"""Which pages may open a WebSocket: a browser says where a page is from, and no page can make it lie (RFC 6454, RFC 6455 10.2)."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_ours(origin: str, *, host: str, allowed: Collection[str]) -> bool:
    """Say whether a page of this origin may connect: one of the same host and port, or one that is allowed by name.

    The scheme is not compared: behind a proxy that ends TLS a page of https reaches us as ws.
    `null` (a sandboxed frame, a file) is nobody's origin.
    """
    found = _place(origin)
    if found is None:
        return False
    return found[1:] == _host(host, scheme=found[0]) or any(found == _place(each) for each in allowed)


def _place(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port."""
    try:
        parts = urlsplit(origin)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None:
        return None
    return parts.scheme, parts.hostname, port


def _host(host: str, *, scheme: str) -> tuple[str, int] | None:
    found = _place(f"{scheme}://{host}")
    return found and found[1:]
