"""Which port each server listens on: chosen once and kept, chosen anew when another program has taken it."""

from __future__ import annotations

import json
import random
from pathlib import Path

from config.kept import write_whole
from config.listening import is_free

# Below every system's ephemeral range: a client that retries there could otherwise connect to itself.
RANGE = range(15_000, 30_000)


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


def _free_port(*, taken: set[int]) -> int:
    order = random.sample(RANGE, k=len(RANGE))
    return next(port for port in order if port not in taken and is_free(port))


def _read(home: Path) -> dict[str, int]:
    try:
        found = json.loads((home / "ports.json").read_text())
        return {str(name): int(port) for name, port in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
