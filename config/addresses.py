"""Turns server URLs into the forms that Django, Celery and Channels want."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

NOT_STARTED = "postgresql://gearbox@127.0.0.1:1/gearbox"
NO_REDIS = "redis://127.0.0.1:1/0"
POOL = {"min_size": 0, "max_size": 12, "timeout": 10, "max_idle": 60}


def database(url: str | None) -> dict[str, Any]:
    """Return Django's settings for a `postgresql://` URL.

    Without a URL the settings name an address where nothing listens, so that commands that
    need no database still start and the others fail with a connection error.
    """
    parts = urlsplit(url or NOT_STARTED)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        "OPTIONS": {**dict(parse_qsl(parts.query)), "pool": dict(POOL)},
    }


def redis_database(url: str | None, number: int) -> str:
    """Return the Redis URL with another database number: the broker keeps one of its own."""
    parts = urlsplit(url or NO_REDIS)
    return parts._replace(path=f"/{number}").geturl()
