"""Who listens where: whether a port is free, and who has it when it is not."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import psutil

LOOPBACK = "127.0.0.1"


def is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen there now."""
    if not 0 < port < 65_536:
        return False
    with socket.socket(_family(host)) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
        return True


def next_free(port: int, *, host: str = LOOPBACK) -> int:
    """Return the first free port above this one."""
    return next(other for other in range(port + 1, 65_536) if is_free(other, host=host))


def listener(port: int) -> psutil.Process | None:
    """Return who listens on this port; None when nobody does or the system does not tell us."""
    try:
        found = psutil.net_connections(kind="tcp")
        pids = [taken.pid for taken in found if taken.laddr and taken.laddr.port == port and taken.status == psutil.CONN_LISTEN]
        return next((psutil.Process(pid) for pid in pids if pid), None)
    except psutil.Error:
        return None


def accepts(url: str) -> bool:
    """Tell whether somebody accepts connections at the URL's host and port, within three seconds.

    True as well for a URL that names no host: then only its own client can tell.
    """
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        return True
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=3).close()
    except OSError:
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
