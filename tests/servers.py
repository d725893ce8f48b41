"""Loaded before Django's settings (`-p tests.servers`): gives the tests a real PostgreSQL and a real Valkey."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

HOME = Path(os.environ.get("GEARBOX_TEST_HOME") or Path(__file__).resolve().parent.parent / ".local" / "test")
os.environ["GEARBOX_HOME"] = str(HOME)
(HOME / "static").mkdir(parents=True, exist_ok=True)


def _serve() -> None:
    """Start the embedded servers unless the environment names others; stop them at exit only if we started them."""
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        return
    from config.embedded import servers

    running = servers.find(HOME)
    if running is None:
        running = servers.start(HOME)
        atexit.register(servers.stop, HOME)
    os.environ["DATABASE_URL"] = running.database_url
    os.environ["REDIS_URL"] = running.redis_url


_serve()
