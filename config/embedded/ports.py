"""Which port each server listens on: chosen once and kept, chosen anew when another program has taken it."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from config.kept import write_whole

# Below every system's ephemeral range: a client that retries there could otherwise connect to itself.
RANGE = range(15_000, 30_000)
HOST = "127.0.0.1"


def kept_port(home: Path, name: str) -> int:
    """Return the port kept under this name, 0 when there is none."""
    return _read(home).get(name, 0)


def choose_port(home: Path, name: str) -> int:
    """Return the kept port if a server could listen there now, else a new free one, which is kept from now on."""
    ports = _read(home)
    if not is_free(ports.get(name, 0)):
        ports[name] = _free_port(taken=set(ports.values()))
        write_whole(home / "ports.json", json.dumps(ports))
    return ports[name]


def is_free(port: int, *, host: str = HOST) -> bool:
    """Tell whether a server could listen there now."""
    if not 0 < port < 65_536:
        return False
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
        return True


def _free_port(*, taken: set[int]) -> int:
    order = random.sample(RANGE, k=len(RANGE))
    return next(port for port in order if port not in taken and is_free(port))


def _read(home: Path) -> dict[str, int]:
    try:
        found = json.loads((home / "ports.json").read_text())
        return {str(name): int(port) for name, port in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
