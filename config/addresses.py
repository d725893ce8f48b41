"""Turns server URLs into the forms that Django, Celery and Channels want."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

NOT_STARTED = "postgresql://gearbox@127.0.0.1:1/gearbox"
NO_REDIS = "redis://127.0.0.1:1/0"
POOL: Mapping[str, Any] = MappingProxyType({"min_size": 0, "max_size": 12, "timeout": 10, "max_idle": 60, "reconnect_timeout": 4})
"""The pool waits twice as long after each try that failed; after four seconds the next that asks begins anew, so that it
never waits much longer than the server was away."""
GONE_AFTER_MS = 9_000
"""Five seconds of silence and two questions without an answer: then each side takes the other for gone."""
PATIENCE: Mapping[str, Any] = MappingProxyType(
    {
        "connect_timeout": 5,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "tcp_user_timeout": GONE_AFTER_MS,
    }
)
"""When our end gives up a server that vanished, or that takes the connection and never answers."""
SERVERS = (
    f"-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=2 -c tcp_user_timeout={GONE_AFTER_MS}"
    " -c plan_cache_mode=force_generic_plan"
)
"""When the server's end gives up a host that vanished: else it keeps that host's locks for hours. And what is prepared, the few
statements that every job passes through, is planned once a session: planning anew was a fifth of the server's time."""


def database(url: str | None) -> dict[str, Any]:
    """Return Django's settings for a `postgresql://` URL; what it says in its query wins over what we would say.

    Without a URL the settings name an address where nothing listens, so that commands that
    need no database still start and the others fail with a connection error.
    """
    parts = urlsplit(url or NOT_STARTED)
    theirs = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        "OPTIONS": {**PATIENCE, **theirs, "options": f"{SERVERS} {theirs.get('options', '')}".rstrip(), "pool": dict(POOL)},
    }


def redis_database(url: str | None, number: int) -> str:
    """Return the Redis URL with another database number: the broker keeps one of its own."""
    parts = urlsplit(url or NO_REDIS)
    return parts._replace(path=f"/{number}").geturl()
