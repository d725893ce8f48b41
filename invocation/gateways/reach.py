"""Whether Redis can be reached, asked from a thread."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings

TIMEOUT_S = 1.0


def ping_redis() -> None:
    """Return if it answers within a second. Raises redis.RedisError."""
    _client().ping()


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, max_connections=8)
